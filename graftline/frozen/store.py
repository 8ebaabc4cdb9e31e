"""The frozen part's output, one entry per row, kept in a file that grows and is read through memory mapping."""

import errno
import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from graftline.errors import GraftlineError
from graftline.files import write_json
from graftline.frozen.store_index import (
    ITEM_BYTES,
    PRECISION_CODES,
    RECORD,
    FeatureIndex,
    Records,
    StoredPrecision,
    entry_sizes,
    new_records,
    readable,
    record_checksums,
)

VALUES, INDEX = "values.bin", "index.bin"
# In each store: its turn among the uses of all stores, and the size that whoever has it open may let it grow to. Uses
# are counted, not timed: their order outlives a copy of the folder and a clock that goes back.
USE = "use.json"
# Mapped pages count as this process's memory until it lets go of them, after about so much was read. They stay in the
# system's cache and come back within microseconds: letting go costs 0.2 ms per batch of 32 rows.
RESIDENT_BYTES = 16 << 20
# The bytes that the system may map at once where one is read: a huge page.
FAULT_BYTES = 2 << 20
# Entries are looked up and checked so many at a time: enough for numpy, and nothing that grows with the store.
KEYS_AT_ONCE = 4096
# Records that are read at once when a store is opened.
RECORDS_AT_ONCE = 1 << 16
# Where an entry may begin, whatever precision it has.
ALIGNMENT_BYTES = max(ITEM_BYTES.values())
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FeatureStoreFullError(GraftlineError):
    """The store cannot take more: its limit is reached or the disk is full. What it holds can still be read."""


class FeatureStore:
    """Float32 or bfloat16 arrays of any shape under string keys, appended and never changed.

    A killed writer or a lost page costs only its own entries: an entry counts if its values are wholly there and have
    the checksum they were written with, otherwise it is computed again. One process at a time has it open; the lock
    lies beside the folder, so that the folder can be removed while it is held.
    """

    def __init__(
        self,
        folder: Path,
        precision: StoredPrecision = "float32",
        *,
        make_room: Callable[[int], list[str]] | None = None,
    ) -> None:
        """`make_room` is asked before the store grows by so many bytes.

        It returns the names of the stores that it evicted for them, or raises FeatureStoreFullError.
        """
        self.folder = folder
        self.precision = precision
        self.evicted: list[str] = []
        self._make_room = make_room
        self._lock = lock_of(folder)

    def __enter__(self) -> Self:
        with ExitStack() as session, full_disk_told(self.folder):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            session.enter_context(self._lock)
            if not self.folder.exists():
                _create(self.folder)
            for name in (VALUES, INDEX):
                (self.folder / name).touch()
            self._values_file = session.enter_context((self.folder / VALUES).open("r+b", buffering=0))
            self._index_file = session.enter_context((self.folder / INDEX).open("r+b", buffering=0))
            self._read_index()
            self._mapped: mmap.mmap | None = None
            self._touched_bytes = self._reserved_bytes = 0
            self._session = session.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mapped = None
        self._session.close()

    def __reduce__(self) -> "tuple[Callable[..., FeatureStore], tuple[Path, StoredPrecision]]":
        """In another process it is what whoever has it open has written so far, to be read only."""
        return FeatureStore.written_by_another, (self.folder.resolve(), self.precision)

    @classmethod
    def written_by_another(cls, folder: Path, precision: StoredPrecision) -> Self:
        """A store that another process has open, and keeps open as long as this one reads."""
        store = cls(folder, precision)
        store._values_file = (folder / VALUES).open("rb", buffering=0)
        store._index_file = (folder / INDEX).open("rb", buffering=0)
        store._read_index()
        store._mapped = None
        store._touched_bytes = 0
        return store

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys without an intact entry, each once, in the order given. Reads every entry that is there."""
        wanted = list(keys)
        return list(dict.fromkeys(wanted[place] for place in self.absent(wanted)))

    def absent(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """The places of the keys without an intact entry. Reads every entry that is there."""
        starts = range(0, len(keys), KEYS_AT_ONCE)
        there = [self._intact(list(keys[start : start + KEYS_AT_ONCE])) for start in starts]
        return np.flatnonzero(~np.concatenate([np.zeros(0, np.bool_), *there]))

    def needed_bytes(self, shapes: Iterable[tuple[int, ...]]) -> int:
        """The bytes that entries of these shapes would add to the store."""
        return sum(RECORD.itemsize + ITEM_BYTES[self.precision] * int(np.prod(shape)) for shape in shapes)

    def reserve(self, needed_bytes: int) -> None:
        """See to it, before anything is computed, that the store can grow by so much.

        Other stores may be evicted for it; their names are then in `evicted`.
        Raises: FeatureStoreFullError if it would not fit even so.
        """
        if self._make_room is not None:
            self.evicted += self._make_room(needed_bytes)
            self._reserved_bytes = needed_bytes

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Append one entry per key: all of them or, after an error, none.

        Raises: FeatureStoreFullError if the disk or the store's limit is reached.
        """
        entries = [(key, tuple(tensor.shape), self._stored(tensor)) for key, tensor in values.items()]
        records = new_records(entries, offset_bytes=self._values_end, precision=self.precision)
        content, lines = b"".join(entry[2] for entry in entries), records.tobytes()
        added_bytes = len(content) + len(lines)
        if self._make_room is not None and added_bytes > self._reserved_bytes:
            self.reserve(added_bytes)
        with full_disk_told(self.folder):
            try:
                _write_whole(self._values_file.fileno(), content, self._values_end)
                _write_whole(self._index_file.fileno(), lines, self._index_end)
            except OSError:
                # Gives what was half written back to a full disk.
                os.ftruncate(self._values_file.fileno(), self._values_end)
                os.ftruncate(self._index_file.fileno(), self._index_end)
                raise
        first = self._index_end // RECORD.itemsize
        self._index.add(records["key"], np.arange(first, first + len(records), dtype=np.uint32))
        self._values_end += len(content)
        self._index_end += len(lines)
        self._reserved_bytes -= added_bytes
        self._mapped = None  # is too short now

    def batch(self, keys: Sequence[str]) -> Tensor:
        """The entries of `keys`, padded with zeros along their first axis: (batch, longest, ...) or (batch, width).

        Raises: KeyError for a key without an entry; ValueError if the entries differ in another axis than the first.
        """
        records, found = self._find(keys)
        if not found.all():
            raise KeyError(keys[int(np.argmin(found))])
        items = self._items()
        starts = records["offset_bytes"].astype(np.int64) // items.itemsize
        axes, shapes = int(records["axes"][0]), records["shape"]
        if (records["axes"] != axes).any() or (shapes[:, 1:] != shapes[0, 1:]).any():
            raise ValueError("entries of one batch may differ in nothing but the length of their first axis")
        shape = tuple(int(size) for size in shapes[0, :axes])
        if (shapes == shapes[0]).all():
            together = _equal_rows(items, starts, shape)
        else:
            together = _padded_rows(items, starts, shapes[:, 0].astype(np.int64), shape[1:])
        self._let_go(len(records) * FAULT_BYTES + int(entry_sizes(records).sum()))
        return torch.from_numpy(together).view(getattr(torch, self.precision))

    def _stored(self, tensor: Tensor) -> bytes:
        items = tensor.detach().to("cpu", getattr(torch, self.precision)).contiguous().reshape(-1)
        return items.view(torch.uint8).numpy().tobytes()

    def _items(self) -> NDArray[np.signedinteger]:
        """All values as integers of the stored width: numpy has no bfloat16, and only their bits are copied."""
        mapped = self._map()
        dtype = np.dtype(f"<i{ITEM_BYTES[self.precision]}")
        return np.frombuffer(mapped, dtype, count=len(mapped) // dtype.itemsize)

    def _map(self) -> mmap.mmap | bytes:
        if self._mapped is None and self._values_end:
            self._mapped = mmap.mmap(self._values_file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._mapped or b""

    def _let_go(self, mapped_bytes: int) -> None:
        self._touched_bytes += mapped_bytes
        if self._mapped and min(len(self._mapped), self._touched_bytes) > RESIDENT_BYTES:
            self._mapped.madvise(mmap.MADV_DONTNEED)
            self._touched_bytes = 0

    def _intact(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        records, found = self._find(keys)
        starts, sizes, mapped = records["offset_bytes"].tolist(), entry_sizes(records).tolist(), memoryview(self._map())
        value_checksums = [0] * len(keys)
        for row in np.argsort(records["offset_bytes"]).tolist():  # in the file's order, as a disk reads fastest
            value_checksums[row] = zlib.crc32(mapped[starts[row] : starts[row] + sizes[row]])
            self._let_go(sizes[row])
        intact: NDArray[np.bool_] = found & (records["checksum"] == record_checksums(records, value_checksums))
        return intact

    def _read_index(self) -> None:
        available_bytes, count = ((self.folder / name).stat().st_size for name in (VALUES, INDEX))
        count //= RECORD.itemsize
        end, self._index = 0, FeatureIndex()
        for start in range(0, count, RECORDS_AT_ONCE):
            records = self._records_from(start, min(count - start, RECORDS_AT_ONCE))
            there = readable(records, available_bytes=available_bytes)
            ends = records["offset_bytes"][there].astype(np.int64) + entry_sizes(records[there])
            end = max(end, int(ends.max(initial=0)))
            own = np.flatnonzero(there & (records["precision"] == PRECISION_CODES[self.precision]))
            self._index.add(records["key"][own], (start + own).astype(np.uint32))
        # What a kill cut off lies behind these ends, and is written over.
        self._values_end = -(-end // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        self._index_end = count * RECORD.itemsize

    def _records_from(self, number: int, count: int) -> Records:
        size = RECORD.itemsize
        return np.frombuffer(os.pread(self._index_file.fileno(), count * size, number * size), RECORD)

    def _find(self, keys: Sequence[str]) -> tuple[Records, NDArray[np.bool_]]:
        """One record per key, and whether there is one at all."""
        numbers, found = self._index.find(keys)
        records, file, size = np.zeros(len(keys), RECORD), self._index_file.fileno(), RECORD.itemsize
        there = b"".join(os.pread(file, size, number * size) for number in numbers[found].tolist())
        records[found] = np.frombuffer(there, RECORD)
        return records, found


def lock_of(folder: Path) -> FileLock:
    """The lock of the process that has the store in `folder` open."""
    return FileLock(folder.with_name(f"{folder.name}.lock"))


def write_use(folder: Path, *, turn: int, reserved_bytes: int) -> None:
    """Note the use of the store in `folder`, which the caller has open; a kill leaves the old note or the new one."""
    write_json(folder / USE, {"turn": turn, "reserved_bytes": reserved_bytes})


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Raises: FeatureStoreFullError instead of the operating system's errors that mean it."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise FeatureStoreFullError(
            f"the feature store {folder} cannot grow: {error.strerror}; free some space on its disk"
        ) from error


def _create(folder: Path) -> None:
    """Make the folder of a store that was never used: a kill leaves it there with its use, or not at all."""
    unfinished = folder.with_name(f".{folder.name}.new")
    unfinished.mkdir(exist_ok=True)  # one that was killed may have left it
    write_use(unfinished, turn=0, reserved_bytes=0)
    unfinished.rename(folder)


def _equal_rows(
    items: NDArray[np.signedinteger], starts: NDArray[np.int64], shape: tuple[int, ...]
) -> NDArray[np.signedinteger]:
    """Entries of one shape, copied by numpy in one go: as rows of the array of all that could begin anywhere."""
    windows = np.lib.stride_tricks.sliding_window_view(items, int(np.prod(shape)))
    return windows[starts].reshape(len(starts), *shape)


def _padded_rows(
    items: NDArray[np.signedinteger], starts: NDArray[np.int64], lengths: NDArray[np.int64], shape: tuple[int, ...]
) -> NDArray[np.signedinteger]:
    step = int(np.prod(shape))
    padded = np.zeros((len(starts), int(lengths.max()), *shape), items.dtype)
    for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        padded[row, :length] = items[start : start + length * step].reshape(length, *shape)
    return padded


def _write_whole(descriptor: int, content: bytes, offset: int) -> None:
    remaining = memoryview(content)
    while remaining:  # a disk that fills up takes a part first and refuses the rest only then
        written = os.pwrite(descriptor, remaining, offset)
        remaining, offset = remaining[written:], offset + written
