"""The fixtures of tests/support/tiny_project.py, and one Prefect for all tests that run a flow."""

from collections.abc import Iterator

import pytest

from tests.support.tiny_project import adapted, adapted_once, empty_store, workspace

__all__ = ["adapted", "adapted_once", "empty_store", "workspace"]


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    # Its server takes seconds to start, and half a minute is too short on a machine that does something else as well.
    with prefect_test_harness(server_startup_timeout=180):
        yield
