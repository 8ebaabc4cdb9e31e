"""Decisions about registered models."""
