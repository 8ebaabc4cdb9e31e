"""A registered model, asked in a process of its own."""
