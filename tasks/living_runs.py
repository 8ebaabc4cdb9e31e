"""Which of Prefect's runs are under way in this project: by notes whose locks the system gives back at any death."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from graftline.tasks.workspace import Workspace

FOLDER = "living_runs"
DRAFT = ".draft"


@contextmanager
def living(workspace: Workspace, run: str) -> Iterator[None]:
    """Note that a run goes on in this process as long as the block runs."""
    folder = workspace.artifacts / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / run
    with note.with_suffix(DRAFT).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        Path(file.name).replace(note)  # under its final name it is locked from the first moment on
        try:
            yield
        finally:
            note.unlink(missing_ok=True)


def mend_lost(workspace: Workspace, mend: Callable[[str], bool]) -> None:
    """Give `mend` each run whose process is gone; where it says that this is done, the run is forgotten."""
    for note in (workspace.artifacts / FOLDER).glob("*"):
        # It may have ended by itself just now, or live.
        with suppress(FileNotFoundError, BlockingIOError), note.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if note.suffix == DRAFT or mend(note.name):
                note.unlink()
