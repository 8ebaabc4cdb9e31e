"""The feature stores below one folder: together within a limit, the least recently used evicted first."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from graftline.frozen.store import (
    INDEX,
    USE,
    VALUES,
    FeatureStore,
    FeatureStoreFullError,
    full_disk_told,
    lock_of,
    write_use,
)
from graftline.frozen.store_index import StoredPrecision

# Checkpoints, logs and the registry must still find room when the stores have taken theirs.
DISK_MARGIN_BYTES = 1 << 30
# The name of the store that is being evicted, meanwhile; one at a time, under the lock of all stores.
EVICTED = ".evicted"


@dataclass(frozen=True)
class Neighbour:
    """Another store below the same folder."""

    folder: Path
    turn: int
    size_bytes: int
    growth_bytes: int  # what a process that has it open may still add
    evictable: bool


@dataclass(frozen=True)
class Room:
    """How far a store can grow without any eviction; negative where a limit is exceeded already."""

    below_limit: int
    on_disk: int

    @property
    def least(self) -> int:
        return min(self.below_limit, self.on_disk)


@contextmanager
def open_feature_store(
    root: Path,
    key: str,
    *,
    precision: StoredPrecision,
    limit_bytes: int,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[FeatureStore]:
    """The store with this key below `root`, where all stores together take at most `limit_bytes`.

    Call `reserve` with what the missing rows need before they are computed. Other stores are evicted as this one grows,
    never one that a process has open; what a store holds can be read whatever the limit. Waits for a process that has
    the same store open, and says so.
    Raises: FeatureStoreFullError, here as in `reserve` and `add`, if there is no room; train without the store then.
    """
    folder = root / key
    if _is_open(folder):
        say(f"frozen part: another run has what is kept in {key} open; this one waits until that one has trained")
    with FeatureStore(folder, precision, make_room=partial(make_room, folder, limit_bytes=limit_bytes)) as store:
        store.reserve(0)
        yield store


def _is_open(folder: Path) -> bool:
    """Whether a process has the store open."""
    if not folder.parent.exists():
        return False
    # Whoever makes room holds the locks of closed stores, too, and must not find this one's taken either.
    with _lock_of_all(folder.parent):
        try:
            with lock_of(folder).acquire(timeout=0):
                return False
        except Timeout:
            return True


def _lock_of_all(root: Path) -> FileLock:
    """The lock of a process that decides which stores may grow and which must go.

    Who waits for it may have one store open; who has it waits for no other lock.
    """
    return FileLock(root / "lock")


def make_room(folder: Path, needed_bytes: int, *, limit_bytes: int) -> list[str]:
    """Let the store in `folder`, which the caller has open, grow by so much, and note that it is in use.

    The stores beside it are evicted for that, the least recently used first, but none if all would not suffice.
    Returns: the names of the evicted stores.
    Raises: FeatureStoreFullError if it cannot grow by so much.
    """
    own_bytes = _size_bytes(folder)
    with ExitStack() as locks, full_disk_told(folder):
        locks.enter_context(_lock_of_all(folder.parent))
        _finish_eviction(folder.parent)
        neighbours = [_neighbour(path, locks) for path in _stores_beside(folder)]
        room = _room(folder.parent, neighbours, limit_bytes - own_bytes)
        evicted = _to_evict(folder, needed_bytes, room, [one for one in neighbours if one.evictable])
        for one in evicted:
            one.folder.rename(folder.parent / EVICTED)  # gone at once, wherever a kill ends this
            _finish_eviction(folder.parent)
        turn = 1 + max((one.turn for one in neighbours), default=0)
        write_use(folder, turn=turn, reserved_bytes=own_bytes + needed_bytes)
    return [one.folder.name for one in evicted]


def evict(folder: Path) -> bool:
    """Remove a store, whoever used it last. Returns: False, and does nothing, where a process has it open."""
    with _lock_of_all(folder.parent):
        _finish_eviction(folder.parent)
        try:
            with lock_of(folder).acquire(timeout=0):
                folder.rename(folder.parent / EVICTED)
        except Timeout:
            return False
        _finish_eviction(folder.parent)
    return True


def stores_in(root: Path) -> list[Path]:
    """The folders of all stores below `root`."""
    return [path for path in sorted(root.iterdir()) if _is_store(path)] if root.exists() else []


def _finish_eviction(root: Path) -> None:
    if (root / EVICTED).exists():
        shutil.rmtree(root / EVICTED)


def _stores_beside(folder: Path) -> list[Path]:
    # Whatever else lies there is not touched. A kill while the store was opened may have left only one of its files.
    return [path for path in stores_in(folder.parent) if path != folder]


def _is_store(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (VALUES, INDEX))


def _neighbour(folder: Path, locks: ExitStack) -> Neighbour:
    """The facts about a store; it stays locked until `locks` are closed, unless another process has it open."""
    try:
        locks.enter_context(lock_of(folder).acquire(timeout=0))
        is_open = False
    except Timeout:
        is_open = True
    # Only now: it may have grown until the lock was tried, up to what was reserved for it.
    turn, reserved_bytes = _use(folder)
    size_bytes = _size_bytes(folder)
    return Neighbour(folder, turn, size_bytes, max(0, reserved_bytes - size_bytes) if is_open else 0, not is_open)


def _use(folder: Path) -> tuple[int, int]:
    """A store's turn and the size reserved for it: none if it was never used here, or its file is damaged."""
    try:
        use = json.loads((folder / USE).read_bytes())
        return int(use["turn"]), int(use["reserved_bytes"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return 0, 0


def _room(root: Path, neighbours: Sequence[Neighbour], limit_bytes: int) -> Room:
    growth_bytes = sum(one.growth_bytes for one in neighbours)
    return Room(
        below_limit=limit_bytes - growth_bytes - sum(one.size_bytes for one in neighbours),
        on_disk=shutil.disk_usage(root).free - DISK_MARGIN_BYTES - growth_bytes,
    )


def _to_evict(folder: Path, needed_bytes: int, room: Room, evictable: Sequence[Neighbour]) -> list[Neighbour]:
    freed_bytes = sum(one.size_bytes for one in evictable)
    if 0 < needed_bytes > room.least + freed_bytes:
        raise _full(folder, needed_bytes, room, freed_bytes)
    # If nothing is to be added, a limit that was lowered takes effect, but a disk that others filled costs no store.
    lacking_bytes = needed_bytes - (room.least if needed_bytes else room.below_limit)
    evicted = []
    for one in sorted(evictable, key=lambda neighbour: neighbour.turn):
        if lacking_bytes > 0:
            evicted.append(one)
            lacking_bytes -= one.size_bytes
    return evicted


def _full(folder: Path, needed_bytes: int, room: Room, freed_bytes: int) -> FeatureStoreFullError:
    if room.below_limit <= room.on_disk:
        why, remedy = "the limit of all stores leaves", "raise the limit, or wait for runs that use other stores"
    else:
        why, remedy = f"beside a margin of {_megabytes(DISK_MARGIN_BYTES)} the disk has only", "free some space on it"
    available = _megabytes(max(0, room.least + freed_bytes))
    return FeatureStoreFullError(
        f"the feature store {folder} needs {_megabytes(needed_bytes)} more, but {why} {available}; {remedy}"
    )


def _size_bytes(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in (VALUES, INDEX) if (folder / name).exists())


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
