"""The numbered steps of the line, and the operations on the registry."""
