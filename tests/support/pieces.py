"""Pieces of work for the workers of a cluster: they compute, say, refuse, die and wait."""

import logging
import os
import signal
from pathlib import Path

from graftline.errors import DataRefusedError
from graftline.tasks.step_uses import note_use


def squared(shared: int, item: int) -> tuple[int, int]:
    """Another time for each item, the first the longest. Beside it the process."""
    sum(range(200_000 // (item + 1)))
    return shared + item * item, os.getpid()


def telling(_: None, item: int) -> int:
    logging.getLogger("graftline.pieces").info("piece %d", item)
    note_use(f"pieces/{item}")
    return item


def refusing(_: None, item: int) -> int:
    if item == 2:
        raise DataRefusedError("row 2: is no row, expected one", ["the first cause", "the second"])
    return item


def dying(folder: Path, item: int) -> int:
    """Killed as often as the item says, then well."""
    tries = len(list(folder.glob(f"{item}-*")))
    (folder / f"{item}-{tries}").touch()
    if tries < item:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def computing_for_ever(folder: Path, item: int) -> int:
    (folder / f"pid-{os.getpid()}").touch()
    while True:
        item = (item * 31 + 7) % 1_000_003


def here(_: None, __: int) -> str:
    """Where it is done."""
    return str(Path.cwd())
