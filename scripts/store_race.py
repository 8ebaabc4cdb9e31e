"""Hunts for races between processes that open, fill and evict feature stores below one folder, and are killed there.

Usage: python scripts/store_race.py [--turns N] [--processes P] [--seconds T] [--seed S] [--kills SHARE] [--looks SHARE]

Each turn fills a store, opens one without a limit, or fills one and is killed in front of some file operation; which,
follows from the seed and the turn's number. After each, all stores that nobody has open must have their use.json, and
all together must be within the limit. Ends with status 1 if a turn found a fault, or with as many turns as there was
time for. Another version of the code is hunted through in PYTHONPATH.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from filelock import FileLock, Timeout

from graftline.frozen.eviction import open_feature_store
from graftline.frozen.store import INDEX, VALUES, FeatureStore, FeatureStoreFullError, lock_of

STORES, ROWS = 6, 3
# One row of 100 numbers with its record. Too few rows for all stores, so that nearly every turn evicts one.
ROW_BYTES = 448
LIMIT_BYTES = 4 * ROW_BYTES
USE_FIELDS = {"turn", "reserved_bytes"}
# Python's audit events of what changes or reads a folder; a turn has up to some hundred of them.
FILE_EVENTS = (
    "open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.utime",
    "fcntl.flock",
)  # fmt: skip
MOST_FILE_EVENTS = 100


@dataclass(frozen=True)
class Turn:
    """One turn below `root`, whose own random numbers follow from the seed and its number."""

    root: Path
    number: int
    seed: int
    kills: float
    looks: float
    deadline: float

    def __call__(self) -> tuple[str, list[str]]:
        """Returns: what was done, and the faults that were seen after it."""
        if time.monotonic() > self.deadline:
            return "left out", []
        random = Random(f"{self.seed} {self.number}")  # noqa: S311 - of a test
        key, row = f"{random.randrange(STORES)}", random.randrange(ROWS)
        try:
            if random.random() < self.kills:
                operation = random.randrange(MOST_FILE_EVENTS)
                done = _killed(operation, lambda: _fill(self.root, key, row))
            elif random.random() < self.looks:
                done = _look(self.root, key)
            else:
                done = _fill(self.root, key, row)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
            return "failed", [f"{type(error).__name__}: {error}"]
        return done, _faults(self.root)


def main() -> int:
    options = _options()
    torch.set_num_threads(1)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        deadline = started + options.seconds
        turns = [
            Turn(Path(temporary), number, options.seed, options.kills, options.looks, deadline)
            for number in range(options.turns)
        ]
        with multiprocessing.get_context("fork").Pool(options.processes) as pool:
            seen = list(pool.imap_unordered(Turn.__call__, turns, chunksize=8))
    done = Counter(what for what, _ in seen)
    faults = Counter(fault for _, faults in seen for fault in faults)
    print(f"{options.turns - done['left out']} turns in {time.monotonic() - started:.0f} s: {_counted(done)}")
    print(f"{faults.total()} faults{': ' if faults else ''}{_counted(faults)}")
    return 1 if faults else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="races between feature stores")
    parser.add_argument("--turns", type=int, default=5000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=float, default=0.2)
    parser.add_argument("--looks", type=float, default=0.3)
    return parser.parse_args()


def _fill(root: Path, key: str, row: int) -> str:
    """Open a store as a run does, and put a row into it if it is missing."""
    name, values = f"row {row}", torch.full((100,), float(row))
    try:
        with open_feature_store(root, key, precision="float32", limit_bytes=LIMIT_BYTES) as store:
            if store.missing([name]):
                store.reserve(ROW_BYTES)
                store.add({name: values})
            assert torch.equal(store.batch([name])[0], values), f"{key} holds another {name}"
    except FeatureStoreFullError:
        return "full"
    return "filled"


def _look(root: Path, key: str) -> str:
    """Open a store without a limit, whether it is there or not."""
    with FeatureStore(root / key) as store:
        store.missing(f"row {row}" for row in range(ROWS))
    return "opened"


def _killed(operation: int, act: Callable[[], str]) -> str:
    """Act in a process of its own, which is killed in front of a file operation if it comes so far."""
    child = os.fork()
    if not child:
        _kill_at(operation)
        with suppress(BaseException):
            act()
            os._exit(0)
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status > 0:
        raise RuntimeError(f"a turn that should have been killed ended with status {status}")
    return "killed" if status < 0 else "came through"


def _kill_at(operation: int) -> None:
    events = iter(range(operation))

    def kill(event: str, _: object) -> None:
        if event in FILE_EVENTS and next(events, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill)


def _faults(root: Path) -> list[str]:
    """The faults of the stores that nobody has open; they are removed then, so that each fault counts once."""
    with FileLock(root / "lock"):
        stores = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
        size_bytes = sum(_size_bytes(path) for path in stores)
        faults = [f"a store whose {what}" for path in stores for what in _without_use(path)]
        if size_bytes > LIMIT_BYTES:
            faults.append("the limit was exceeded")
            for path in stores:
                _remove_unless_open(path)
    return faults


def _without_use(store: Path) -> Iterator[str]:
    """Looked at with its lock held: who has it open may be about to write it."""
    with suppress(Timeout), lock_of(store).acquire(timeout=0):
        try:
            if set(json.loads((store / "use.json").read_bytes())) == USE_FIELDS:
                return
            yield "use.json has other fields"
        except FileNotFoundError:
            yield "use.json is missing"
        except ValueError:
            yield "use.json is cut off"
        shutil.rmtree(store)


def _remove_unless_open(store: Path) -> None:
    with suppress(Timeout), lock_of(store).acquire(timeout=0):
        shutil.rmtree(store, ignore_errors=True)


def _size_bytes(store: Path) -> int:
    return sum((store / name).stat().st_size for name in (VALUES, INDEX) if (store / name).exists())


def _counted(names: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in names.most_common())


if __name__ == "__main__":
    sys.exit(main())
