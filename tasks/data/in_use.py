"""Who reads the data and who replaces them: a lock that the system gives back at any death."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from graftline.errors import DataRefusedError
from graftline.tasks.workspace import Workspace

LOCK = "data_in_use.lock"


@contextmanager
def data_in_use(workspace: Workspace) -> Iterator[None]:
    """Inside nobody replaces the data; who is about to is waited for, a second or two."""
    with _locked(workspace, fcntl.LOCK_SH):
        yield


@contextmanager
def data_to_itself(workspace: Workspace) -> Iterator[None]:
    """Inside no run of this project reads the data. Raises: DataRefusedError if one does now."""
    try:
        with _locked(workspace, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield
    except BlockingIOError:
        raise DataRefusedError(
            f"{workspace.root}: a run of this project reads the data now, expected none while they are replaced;"
            " nothing was changed: do it again when the run has ended"
        ) from None


@contextmanager
def _locked(workspace: Workspace, how: int) -> Iterator[None]:
    workspace.artifacts.mkdir(parents=True, exist_ok=True)
    with (workspace.artifacts / LOCK).open("a") as file:
        fcntl.flock(file, how)
        yield
