"""Measurements: speed against the usual ways (speed.py) and memory as rows grow (memory.py)."""
