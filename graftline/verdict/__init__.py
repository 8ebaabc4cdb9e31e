"""PROMOTE, HOLD or REJECT, and why."""
