"""The fixtures of tests/support that projects and the processes of registered models are made with once."""

from tests.support.tiny_project import adapted, adapted_once, empty_store, workspace
from tests.support.warm_processes import cold, warm

__all__ = ["adapted", "adapted_once", "cold", "empty_store", "warm", "workspace"]
