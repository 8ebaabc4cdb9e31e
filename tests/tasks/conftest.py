"""The fixtures of tests/support/tiny_project.py."""

from tests.support.tiny_project import adapted, adapted_once, empty_store, workspace
from tests.support.warm_processes import cold, warm

__all__ = ["adapted", "adapted_once", "cold", "empty_store", "warm", "workspace"]
