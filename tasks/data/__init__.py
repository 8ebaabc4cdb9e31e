"""data/ on disk, what was found in it, and the accepted rows."""
