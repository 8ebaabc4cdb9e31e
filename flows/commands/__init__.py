"""The verbs of the command line: what they take, and which function does it."""
