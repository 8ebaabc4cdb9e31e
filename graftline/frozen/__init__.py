"""What lies in front of the freeze point runs once per row."""
