"""How fast the line is, beside others at their best settings."""
