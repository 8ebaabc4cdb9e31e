"""A served model under many clients, beside MLflow's own server."""
