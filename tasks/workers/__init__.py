"""Work that is done at once: in this process in order, or on the workers of a cluster."""
