"""New rows: what was quarantined and mended, and labels that came later, become the data's next version."""
