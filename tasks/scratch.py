"""Folders for what is needed for a while only; what a killed process leaves there goes when the next one comes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from graftline.tasks.workspace import Workspace

SCRATCH = "scratch"


@contextmanager
def scratch_folder(workspace: Workspace) -> Iterator[Path]:
    """An empty folder that is gone afterwards. As long as its lock is held, whoever made it lives."""
    place = workspace.artifacts / SCRATCH
    place.mkdir(parents=True, exist_ok=True)
    remove_abandoned(place)
    folder = place / uuid4().hex
    with FileLock(folder.with_suffix(".lock")) as lock:
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)


def is_scratch(folder: Path) -> bool:
    """Whether a folder is one of these, which nobody will find any more."""
    return folder.parent.name == SCRATCH


def remove_abandoned(place: Path) -> None:
    """Remove the folders whose makers were killed."""
    for lock in place.glob("*.lock"):
        with suppress(Timeout), FileLock(lock, timeout=0):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
