"""How far rows lie from those that a model learns from: what `graftline distance` compares."""
