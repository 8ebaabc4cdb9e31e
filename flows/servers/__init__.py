"""The programs that `graftline up` runs."""
