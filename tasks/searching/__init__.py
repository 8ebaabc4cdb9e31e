"""Trials of a search on the project's training and validation rows."""
