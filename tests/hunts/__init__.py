"""Long hunts, to be started by hand; CI has a small form of each."""
