"""The fixtures of tests/tiny_project.py, and one Prefect for all tests that run a flow."""

from collections.abc import Iterator

import pytest

from tests.tiny_project import adapted, adapted_once, empty_store, workspace

__all__ = ["adapted", "adapted_once", "empty_store", "workspace"]


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness():
        yield
