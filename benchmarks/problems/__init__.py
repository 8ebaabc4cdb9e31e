"""Real problems that the benchmarks measure on, each with its source."""
