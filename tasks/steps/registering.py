"""The folders in which models lie while they are being registered."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from graftline.tasks.registry.removal import remove_unregistered
from graftline.tasks.tracking.server import TrackedRun
from graftline.tasks.workspace import Workspace

# A folder of this ending beside the run's lock holds what is being registered, so that a kill leaves nothing elsewhere.
REGISTERING = ".registering"


def remove_leftovers(workspace: Workspace, run: TrackedRun) -> None:
    """Remove the copies of models that killed registrations left, those of this run, whose lock we hold, too."""
    for folder in (workspace.artifacts / "runs").glob(f"*{REGISTERING}"):
        lock = folder.with_name(f".{folder.name.removesuffix(REGISTERING)}.lock")
        with suppress(Timeout), FileLock(lock, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
    remove_unregistered(workspace, run.run_key)


@contextmanager
def temporary_files_of(workspace: Workspace, run: TrackedRun) -> Iterator[Path]:
    """A folder for them, also for those of libraries: MLflow copies a whole model before it stores it.

    The caller has the run's lock.
    """
    folder = workspace.artifacts / "runs" / f"{run.run_key}{REGISTERING}"
    shutil.rmtree(folder, ignore_errors=True)  # a killed start may have left it
    folder.mkdir(parents=True)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)
