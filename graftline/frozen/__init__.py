"""The part in front of the freeze point, which runs once per row."""
