"""How often the gate errs."""
