"""The frozen part's output, one entry per row, kept in a file that grows and is read through memory mapping."""

import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

VALUES, INDEX = "values.bin", "index.jsonl"
Entry = tuple[int, tuple[int, ...], int]  # offset in bytes, shape, CRC-32


class FeatureStore:
    """Float32 arrays of any shape under string keys, appended and never changed.

    A killed writer or a lost page costs only its own entries: an entry counts if its values are wholly there and have
    the checksum they were written with, otherwise it is computed again. One process writes at a time.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = FileLock(folder / "lock")
        self._entries: dict[str, Entry] = {}
        self._values: np.memmap[tuple[int], np.dtype[np.uint8]] | None = None

    def __enter__(self) -> Self:
        self._lock.acquire()
        (self._folder / VALUES).touch()
        self._end_cut_line()
        self._entries = self._read_index()
        self._map()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._values = None
        self._lock.release()

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys without an intact entry, each once, in the order given."""
        return [key for key in dict.fromkeys(keys) if not self._is_intact(key)]

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Append one entry per key."""
        path = self._folder / VALUES
        lines = []
        with path.open("ab") as file:
            for key, tensor in values.items():
                content = tensor.detach().cpu().contiguous().numpy().astype("<f4", copy=False).tobytes()
                entry = (file.tell(), tuple(tensor.shape), zlib.crc32(content))
                file.write(content)
                self._entries[key] = entry
                lines.append(json.dumps([key, *entry]) + "\n")
        with (self._folder / INDEX).open("a", encoding="utf-8") as file:
            file.writelines(lines)
        self._map()

    def batch(self, keys: Sequence[str]) -> Tensor:
        """The entries of `keys`, padded with zeros along their first axis: (batch, longest, ...) or (batch, width)."""
        rows = [self._row(key) for key in keys]
        if rows[0].ndim == 1:
            return torch.from_numpy(np.stack(rows))
        padded = np.zeros((len(rows), max(len(row) for row in rows), *rows[0].shape[1:]), dtype=np.float32)
        for place, row in enumerate(rows):
            padded[place, : len(row)] = row
        return torch.from_numpy(padded)

    def _row(self, key: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        offset, shape, _ = self._entries[key]
        assert self._values is not None
        return self._values[offset : offset + _size_bytes(shape)].view("<f4").reshape(shape)

    def _is_intact(self, key: str) -> bool:
        entry = self._entries.get(key)
        return entry is not None and zlib.crc32(self._row(key).tobytes()) == entry[2]

    def _read_index(self) -> dict[str, Entry]:
        available = (self._folder / VALUES).stat().st_size
        entries: dict[str, Entry] = {}
        index = self._folder / INDEX
        for line in index.read_bytes().splitlines():
            try:
                key, offset, shape, checksum = json.loads(line)
                entry = (int(offset), tuple(int(size) for size in shape), int(checksum))
            except (ValueError, TypeError):
                continue  # a line that a kill cut off or a disk damaged; its row is computed again
            if 0 <= entry[0] <= available - _size_bytes(entry[1]):
                entries[str(key)] = entry
        return entries

    def _end_cut_line(self) -> None:
        """So that a line which a kill cut off does not swallow the one after it."""
        with (self._folder / INDEX).open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.write(b"\n")

    def _map(self) -> None:
        path = self._folder / VALUES
        self._values = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else None


def _size_bytes(shape: tuple[int, ...]) -> int:
    return 4 * int(np.prod(shape))
