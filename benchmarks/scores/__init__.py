"""How good adapted models become, written to docs/measurements/."""
