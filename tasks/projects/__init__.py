"""What `graftline init` writes: the files of a project that is to begin."""
