"""Acting at another registry and state than those that the environment names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from graftline.tasks.state.shared import STATE
from graftline.tasks.tracking.addresses import PASSWORD, TOKEN, USERNAME
from graftline.tasks.tracking.server import connect
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRACKING = "MLFLOW_TRACKING_URI"
CREDENTIALS = (USERNAME, PASSWORD, TOKEN)


class AsBefore:
    """A client of the registry that the environment named before: it asks with the name and password of then."""

    def __init__(self, client: "MlflowClient") -> None:
        self._client, self._known = client, {name: os.environ.get(name) for name in CREDENTIALS}

    def __getattr__(self, name: str) -> object:
        asked = getattr(self._client, name)
        if not callable(asked):
            return asked

        def ask(*arguments: object, **named: object) -> object:
            present = {name: os.environ.get(name) for name in CREDENTIALS}
            _set(self._known)
            try:
                return asked(*arguments, **named)
            finally:
                _set(present)

        return ask


@contextmanager
def at_registry(workspace: Workspace, tracking: str | None, state: str | None) -> Iterator[None]:
    """Within the block the environment names these, afterwards again what it named; None is the project folder.

    So it is with the password that the address holds, which `connect` puts where MLflow's client looks for it.
    """
    wanted = {TRACKING: tracking, STATE: state}
    before = {name: os.environ.get(name) for name in (*wanted, *CREDENTIALS)}
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
