"""The fixtures of tests/support/tiny_project.py."""

from tests.support.tiny_project import adapted, adapted_once, empty_store, workspace

__all__ = ["adapted", "adapted_once", "empty_store", "workspace"]
