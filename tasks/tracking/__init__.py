"""Where MLflow is, and what it takes to repeat a run."""
