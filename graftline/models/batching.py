"""Batches of rows of similar length, in an order that the seed and the epoch decide."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

# Rows are sorted by length within pools of this many batches: large enough that padding nearly vanishes, small enough
# that a batch's companions differ in every epoch. Whole batches are shuffled afterwards; without that, the order of
# lengths alone costs several points of accuracy.
POOL_BATCHES = 50


class Batches(Sequence[list[int]]):
    """Row numbers in batches. Of each row eight bytes are held, and a batch is a list when it is asked for."""

    def __init__(self, rows: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        """Batch after batch from where it starts in `rows` to where it ends there."""
        self._rows, self._starts, self._ends = rows, starts, ends

    @classmethod
    def of_size(cls, rows: NDArray[np.int64], size: int) -> "Batches":
        """All of this size but the last."""
        starts = np.arange(0, len(rows), size)
        return cls(rows, starts, np.minimum(starts + size, len(rows)))

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, place: int) -> list[int]: ...
    @overload
    def __getitem__(self, place: "slice | NDArray[np.int64]") -> "Batches": ...
    def __getitem__(self, place: "int | slice | NDArray[np.int64]") -> "list[int] | Batches":
        if isinstance(place, slice | np.ndarray):
            return Batches(self._rows, self._starts[place], self._ends[place])
        rows: list[int] = self._rows[self._starts[place] : self._ends[place]].tolist()
        return rows

    def __iter__(self) -> Iterator[list[int]]:
        return (self[place] for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def without_lone_row(self) -> "Batches":
        """The same, a last row that is alone in its batch beside those of the batch before it."""
        sizes = self._ends - self._starts
        if len(self) < 2 or sizes[-1] != 1 or sizes[0] == 1:
            return self
        return Batches(self._rows, self._starts[:-1], np.append(self._ends[:-2], self._ends[-1]))


class Groups(Sequence[Batches]):
    """Batches in groups of so many; the last group may have fewer."""

    def __init__(self, batches: Batches, size: int) -> None:
        self._batches, self._size = batches, size

    def __len__(self) -> int:
        return -(-len(self._batches) // self._size)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        start = self._size * range(len(self))[place]
        return self._batches[start : start + self._size]


def shuffled_batches(lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int) -> Batches:
    """Row numbers in batches for one epoch: every row once, lengths alike within a batch, batches shuffled.

    A single row that is left over joins the batch before it: a BatchNorm has nothing to learn from one row.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    pool_rows = POOL_BATCHES * batch_size
    pools = [order[start : start + pool_rows] for start in range(0, len(order), pool_rows)]
    by_length = np.concatenate([pool[np.argsort(np.take(lengths, pool), kind="stable")] for pool in pools])
    batches = Batches.of_size(by_length, batch_size).without_lone_row()
    return batches[random.permutation(len(batches))]


def sorted_batches(lengths: Sequence[int], batch_size: int) -> Batches:
    """Row numbers in batches for prediction: longest first, so that too large a batch fails at once."""
    return Batches.of_size(np.argsort(-np.asarray(lengths), kind="stable"), batch_size)


def bounded_batches(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Row numbers in batches for prediction, longest first, that come to at most `most` when padded, or are one row."""
    batches: list[list[int]] = []
    for row in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > most:
            batches.append([])
        batches[-1].append(row)
    return batches


def equal_length_batches(lengths: Sequence[int], tokens: int, *, filled: bool = True) -> Batches:
    """Row numbers in batches of one length, as many as make up `tokens`; the last is filled up with repetitions.

    So the shape of a batch follows from the length of its rows alone, whatever other rows there are. Matrix products
    of another shape may add in another order, and differ in the last bits. Not `filled`, the last batch is smaller.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    each, counts = np.unique(np.asarray(lengths), return_counts=True)
    rows, starts, ends, begin, done = [np.zeros(0, np.int64)], list[int](), list[int](), 0, 0
    for length, count in zip(each[::-1].tolist(), counts[::-1].tolist(), strict=True):
        size = max(1, tokens // length)
        members = order[begin : begin + count]
        members = np.concatenate([members, np.repeat(members[:1], -count % size if filled else 0)])
        rows.append(members)
        starts += range(done, done + len(members), size)
        ends += range(done + size, done + len(members), size)
        done += len(members)
        ends.append(done)
        begin += count
    return Batches(np.concatenate(rows), np.array(starts, np.int64), np.array(ends, np.int64))
