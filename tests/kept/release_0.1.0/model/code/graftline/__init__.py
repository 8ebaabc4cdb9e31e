"""Adapting pre-trained models: the library, values to values."""
