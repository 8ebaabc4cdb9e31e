"""Pieces of work for the workers of a cluster: they compute, say, refuse, die and wait."""

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from graftline.errors import DataRefusedError
from graftline.tasks.step_uses import note_use

Shared = TypeVar("Shared")


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


@dataclass(frozen=True)
class Lost(Generic[Shared]):
    """Work whose first piece to begin loses its process, or never ends, since its node is to be lost."""

    folder: Path
    by: Literal["node", "process"]
    function: Callable[[Shared, Any], Any]
    shared: Shared


def unless_lost(given: Lost[Any], item: object) -> Any:
    """Write down the node of the first piece, and wait for its end; all others are done, and that one the next time."""
    import ray

    with suppress(FileExistsError), (given.folder / "lost").open("x") as file:
        file.write(ray.get_runtime_context().get_node_id())
        file.flush()
        if given.by == "process":
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            time.sleep(1)
    return given.function(given.shared, item)


def here(_: None, __: int) -> str:
    """Where it is done."""
    return str(Path.cwd())
