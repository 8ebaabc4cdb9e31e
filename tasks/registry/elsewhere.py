"""Acting at another registry and state than those that the environment names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from graftline.tasks.state.shared import STATE
from graftline.tasks.tracking.server import connect
from graftline.tasks.workspace import Workspace

TRACKING = "MLFLOW_TRACKING_URI"


@contextmanager
def at_registry(workspace: Workspace, tracking: str | None, state: str | None) -> Iterator[None]:
    """Within the block the environment names these, afterwards again what it named; None is the project folder."""
    wanted = {TRACKING: tracking, STATE: state}
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        connect(workspace)
        yield
    finally:
        _set(before)
        connect(workspace)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
