"""One vector per row, of more rows than memory should hold: in a file without a name, read some rows at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from torch import Tensor

from graftline.nameless_files import NamelessFile

# Numbers that lie in memory. Up to so many, all that is computed of vectors has the bits that it has of a tensor.
MOST_NUMBERS = 1 << 24
# Numbers that are read at once.
BLOCK_NUMBERS = 1 << 20
ITEM_BYTES = torch.float32.itemsize


@dataclass(frozen=True, eq=False)
class FiledVectors:
    """Float32 vectors (rows, width) in a file."""

    file: NamelessFile
    width: int
    first: int
    """Where its rows begin in the file."""
    rows: int

    @classmethod
    def written(cls, parts: Iterator[Tensor], width: int) -> "FiledVectors":
        """The rows of all parts (some rows, width), in order."""
        file, rows = NamelessFile(), 0
        for part in parts:
            file.append(part.float().contiguous().numpy().tobytes())
            rows += len(part)
        return cls(file, width, 0, rows)

    def __len__(self) -> int:
        return self.rows

    def __reduce__(self) -> "tuple[object, tuple[object, ...]]":
        """To another process go the numbers themselves, for a file without a name is nowhere else."""
        return _again, (self.together().numpy(), self.width)

    @overload
    def __getitem__(self, places: slice) -> "FiledVectors": ...
    @overload
    def __getitem__(self, places: "Sequence[int] | Tensor") -> "Tensor | FiledVectors": ...
    def __getitem__(self, places: "slice | Sequence[int] | Tensor") -> "Tensor | FiledVectors":
        """A range of rows, or those where a mask is true, as vectors; the rows at some places as a tensor."""
        if isinstance(places, slice):
            start, stop, _ = places.indices(self.rows)
            return FiledVectors(self.file, self.width, self.first + start, max(0, stop - start))
        if isinstance(places, Tensor) and places.dtype == torch.bool:
            return FiledVectors.written((block[places[of]] for of, block in self.blocks()), self.width)
        return self.at([int(place) for place in places])

    def __setitem__(self, places: Tensor, vectors: Tensor) -> None:
        """Write the rows at these places: (places, width)."""
        of_row = self.width * ITEM_BYTES
        for place, vector in zip(places.tolist(), vectors.float().contiguous().numpy(), strict=True):
            self.file.write(vector.tobytes(), (self.first + place) * of_row)

    def at(self, places: Sequence[int]) -> Tensor:
        """The rows at these places, in memory."""
        return torch.stack([self._read(place, 1)[0] for place in places])

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Ranges of rows that follow each other, and their vectors."""
        at_once = max(1, BLOCK_NUMBERS // self.width)
        for start in range(0, self.rows, at_once):
            stop = min(self.rows, start + at_once)
            yield slice(start, stop), self._read(start, stop - start)

    def together(self) -> Tensor:
        """All of them, in memory."""
        whole = torch.empty(self.rows, self.width)
        for of, block in self.blocks():
            whole[of] = block
        return whole

    def _read(self, start: int, count: int) -> Tensor:
        of_row = self.width * ITEM_BYTES
        content = self.file.read(count * of_row, (self.first + start) * of_row)
        return torch.from_numpy(np.frombuffer(content, np.float32)).reshape(count, self.width)


def _again(numbers: "np.ndarray[tuple[int, int], np.dtype[np.float32]]", width: int) -> FiledVectors:
    return FiledVectors.written(iter([torch.from_numpy(numbers)]), width)


Vectors = Tensor | FiledVectors


def in_blocks(vectors: Vectors) -> Iterator[tuple[slice, Tensor]]:
    """Ranges of rows and their vectors; of a tensor all at once."""
    if isinstance(vectors, FiledVectors):
        yield from vectors.blocks()
    else:
        yield slice(0, len(vectors)), vectors


def room_for(rows: int, width: int) -> Vectors:
    """Where so many rows can be written in any order: in memory where they are few enough."""
    if rows * width > MOST_NUMBERS:
        return FiledVectors(NamelessFile(), width, 0, rows)
    return torch.zeros(rows, width)


def kept_vectors(parts: Iterator[Tensor], rows: int) -> Vectors:
    """So many rows in parts (some rows, width), as a tensor where they are few enough."""
    first = next(parts)
    width = first.shape[1]
    every = _with(first, parts)
    if rows * width > MOST_NUMBERS:
        return FiledVectors.written(every, width)
    # Not all parts beside their sum, for which there would have to be room twice.
    whole, end = torch.empty(rows, width, dtype=first.dtype), 0
    for part in every:
        whole[(start := end) : (end := start + len(part))] = part
    return whole


def _with(first: Tensor, parts: Iterator[Tensor]) -> Iterator[Tensor]:
    yield first
    yield from parts
