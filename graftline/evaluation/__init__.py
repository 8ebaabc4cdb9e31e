"""Scores of held-out rows, with intervals and paired tests."""
