"""The fixtures of tests/tiny_project.py."""

from tests.tiny_project import adapted, adapted_once, empty_store, workspace

__all__ = ["adapted", "adapted_once", "empty_store", "workspace"]
