"""Training of the part that lies behind the freeze point."""
