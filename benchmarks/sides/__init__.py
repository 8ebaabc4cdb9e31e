"""The sides that are measured beside each other: ours and others'."""
