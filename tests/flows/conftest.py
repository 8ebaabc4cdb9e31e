"""The fixtures of tests/tiny_project.py."""

from tests.tiny_project import adapted, empty_store, workspace

__all__ = ["adapted", "empty_store", "workspace"]
