"""Adapting a model to a domain of which only unlabelled rows are known."""
