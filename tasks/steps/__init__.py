"""The line, one module per step."""
