"""The tasks of prediction, each one value."""
