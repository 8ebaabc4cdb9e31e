"""A verdict with its grounds as one signed file: made beside the registry, checked anywhere."""
