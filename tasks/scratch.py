"""Folders for what is needed for a while only; what a killed process leaves there goes when the next one comes."""

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from graftline.tasks.workspace import Workspace

SCRATCH = "scratch"
TEMPORARY = "graftline-"


@contextmanager
def scratch_folder(workspace: Workspace) -> Iterator[Path]:
    """An empty folder that is gone afterwards. As long as its lock is held, whoever made it lives."""
    place = workspace.artifacts / SCRATCH
    place.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(place.glob("*.lock"))
    folder = place / uuid4().hex
    with _held(folder):
        yield folder


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """The same outside of any project, in the system's folder for these.

    Its path is short: those of the sockets that Ray puts there may have 107 characters.
    """
    place = Path(tempfile.gettempdir())
    _remove_abandoned(filter(_is_ours, place.glob(f"{TEMPORARY}*.lock")))
    folder = place / f"{TEMPORARY}{secrets.token_hex(4)}"
    with _held(folder):
        yield folder


def is_scratch(folder: Path) -> bool:
    """Whether a folder is one of these, which nobody will find any more."""
    return folder.parent.name == SCRATCH


def _remove_abandoned(locks: Iterable[Path]) -> None:
    """Remove the folders whose makers were killed."""
    for lock in locks:
        with suppress(Timeout), FileLock(lock, timeout=0):
            _remove(lock.with_suffix(""), lock)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    lock = folder.with_suffix(".lock")
    with FileLock(lock):
        folder.mkdir(mode=0o700)
        try:
            yield
        finally:
            _remove(folder, lock)


def _remove(folder: Path, lock: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():  # otherwise who wrote there meanwhile has no lock, and the next one tries again
        lock.unlink(missing_ok=True)


def _is_ours(lock: Path) -> bool:
    """Not that of somebody else, who may write into the system's folder, too."""
    with suppress(FileNotFoundError):
        status = lock.lstat()
        return stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid()
    return False
