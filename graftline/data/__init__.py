"""Rows before a model reads them."""
