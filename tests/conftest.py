"""What holds for every test: one thread computes, no tool reports to its makers, and what takes long is made once."""

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

# Two workers and their servers share the cores: a thread that waits for its neighbours may not spin meanwhile.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# NumPy's library has threads of its own, which spin whatever that says: a simulated year took twice as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch

import graftline.models  # noqa: F401 - before any test imports timm or transformers
from graftline.flows.cli import TELEMETRY_OFF

# At import, not in a fixture: several tools read these when they are imported themselves.
for name, value in TELEMETRY_OFF.items():
    os.environ.setdefault(name, value)
# Sums of several threads have other last bits, and the workers would get into each other's way.
torch.set_num_threads(1)

# How long an example takes is the machine's affair.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# Rooms whose files share what takes long to make: servers, a browser, an adapted project. Each of them stays on one
# worker, and they begin first; of the others each file does. xdist's own groups have no effect in pytest 9.2 (xdist's
# issue 1386).
# The tasks' tests are a third of all: one worker that did them would be the last by ten minutes.
OF_TASKS = ("tests/tasks/steps/", "tests/tasks/registry/", "tests/tasks/serving/", "tests/tasks/workers/")
SHARING = ("tests/browser/", "tests/flows/", *OF_TASKS, "tests/tasks/")
# Of the other files these take minutes each: begun last, one worker would wait for the other's.
LONG = ("tests/docs/", "tests/hunts/")


class Rooms(LoadFileScheduling):  # type: ignore[misc]  # it comes without annotations
    def _split_scope(self, nodeid: str) -> str:
        return next((room for room in SHARING if nodeid.startswith(room)), super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Rooms:
    return Rooms(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (not item.nodeid.startswith(SHARING), not item.nodeid.startswith(LONG)))


def pytest_collection_finish() -> None:
    """What is imported by now stays, and nobody who collects garbage has to look through it."""
    gc.freeze()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So that the same operations on the same shapes give the same bits, on every processor.

    Tests that compare bits rely on nothing else; where shapes or precisions differ, so does the rounding, on each
    processor in another way, and a tolerance says by how much. Set back to one: fixtures of modules run in between.
    """
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    # Its server takes seconds to start, and half a minute is too short on a machine that does something else as well.
    with prefect_test_harness(server_startup_timeout=180):
        yield
