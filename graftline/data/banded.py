"""Rows that meet in one of several bands: candidates for being alike, found by sorting and never pair by pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from graftline.data.numbering import in_parts
from graftline.data.text_pieces import Integers, spread
from graftline.nameless_files import NamelessFile

Keys = NDArray[np.uint32]
# A row and another as one number, and in how many bands they met: at most as many as there are.
Codes = NDArray[np.uint64]
Counts = NDArray[np.uint16]
KEY_BYTES = np.dtype(np.uint32).itemsize

# Thousands of rows may meet in a band, such as texts made from one template: of each rank so many are looked at, those
# that lie beside the row by their keys in the next band, and in all those first that it meets most often.
MOST_MET, MOST_COMPARED = 8, 16
# Candidates are counted when there are so many, and so many at a time: two hundred MB.
MOST_PENDING = MOST_COUNTED = 2_000_000


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows, each by its place."""

    rows: Integers
    others: Integers

    def among(self, chosen: NDArray[np.bool_]) -> "Pairs":
        """The chosen ones of them."""
        return Pairs(self.rows[chosen], self.others[chosen])


class Bands(Sequence[Keys]):
    """The keys of every row in each band, in a file: two bands of them are in memory at a time."""

    def __init__(self, bands: int, rows: int) -> None:
        self._file, self._bands, self._rows = NamelessFile(), bands, rows

    def __len__(self) -> int:
        return self._bands

    @overload
    def __getitem__(self, band: int) -> Keys: ...
    @overload
    def __getitem__(self, band: slice) -> list[Keys]: ...
    def __getitem__(self, band: int | slice) -> Keys | list[Keys]:
        if isinstance(band, slice):
            return [self[one] for one in range(self._bands)[band]]
        at = range(self._bands)[band]
        size = self._rows * KEY_BYTES
        return np.frombuffer(self._file.read(size, at * size), np.uint32)

    def write(self, keys: Keys, first: int) -> None:
        """The keys (bands, rows) of the rows from `first` on."""
        for band, some in enumerate(keys):
            self._file.write(some.tobytes(), (band * self._rows + first) * KEY_BYTES)


def meeting_below(keys: Sequence[Keys], ranks: NDArray[np.int8]) -> Pairs:
    """The pairs of a row and one of a lower rank that have the same key in one of the bands, by rows, then by others.

    `keys` are (bands, rows), and ranks 0 to 3. Of many that a row meets, the `MOST_COMPARED` that it meets most often.
    """
    rows = np.uint64(len(ranks))
    codes, counts, pending = np.zeros(0, np.uint64), np.zeros(0, np.uint16), list[Codes]()
    beside = keys[0]
    for band in range(len(keys)):
        key, beside = beside, keys[(band + 1) % len(keys)]
        for some in in_parts(key):
            met = _met(key[some], beside[some], ranks[some])
            pending.append(some[met.rows].astype(np.uint64) * rows + some[met.others].astype(np.uint64))
        if band == len(keys) - 1 or sum(map(len, pending)) > MOST_PENDING:
            codes, counts = _most_often(codes, counts, np.concatenate(pending), len(ranks))
            pending = []
    return Pairs((codes // rows).astype(np.int64), (codes % rows).astype(np.int64))


def _met(key: Keys, beside: Keys, ranks: NDArray[np.int8]) -> Pairs:
    """The rows of a lower rank with the same key in one band; of many those nearest by their keys `beside`."""
    names = key.astype(np.uint64)
    names <<= np.uint64(32)
    names |= ranks.astype(np.uint32) << np.uint32(30) | beside >> np.uint32(2)
    # Stable: which of two equal ones comes first is the processor's choice otherwise.
    order = np.argsort(names, kind="stable")
    key = key[order]
    alone = np.append(True, key[1:] != key[:-1]) & np.append(key[1:] != key[:-1], True)
    order = order[~alone]
    names = names[order]
    group = names >> np.uint64(32) << np.uint64(32)
    found = []
    for rank in range(int(ranks.max(initial=0))):
        rows = np.flatnonzero(ranks[order] > rank)
        first = group[rows] | np.uint64(rank << 30)
        low, high = np.searchsorted(names, first), np.searchsorted(names, first + np.uint64(1 << 30))
        there = np.searchsorted(names, first | names[rows] & np.uint64(2**30 - 1)) - MOST_MET // 2
        start = np.maximum(low, np.minimum(there, high - MOST_MET))
        met = np.minimum(start + MOST_MET, high) - start
        found.append((np.repeat(order[rows], met), order[spread(start, met)]))
    if not found:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64))
    return Pairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _most_often(codes: Codes, counts: Counts, new: Codes, rows: int) -> tuple[Codes, Counts]:
    """Each pair once with how often it met, as many of each row as are compared: in order, as the `codes` are.

    They have `counts`; what is `new` counts once. Some rows at a time, because counting takes ten times the room.
    """
    new = np.sort(new)
    parts = -(-(len(codes) + len(new)) // MOST_COUNTED)
    edges = np.linspace(0, rows, max(parts, 1) + 1).astype(np.uint64) * np.uint64(rows)
    known, fresh = np.searchsorted(codes, edges), np.searchsorted(new, edges)
    found = [
        _of_some_rows(codes[a:b], counts[a:b], new[c:d], np.uint64(rows))
        for a, b, c, d in zip(known[:-1], known[1:], fresh[:-1], fresh[1:], strict=True)
    ]
    return np.concatenate([codes for codes, _ in found]), np.concatenate([counts for _, counts in found])


def _of_some_rows(codes: Codes, counts: Counts, new: Codes, rows: np.uint64) -> tuple[Codes, Counts]:
    together, at = np.unique(np.concatenate([codes, new]), return_inverse=True)
    weights = np.append(counts, np.ones(len(new), np.uint16))
    met = np.bincount(at, weights=weights, minlength=len(together)).astype(np.uint16)
    row = together // rows
    order = np.lexsort((together, -met.astype(np.int32), row))
    first = np.append(True, row[order][1:] != row[order][:-1]) if len(order) else np.zeros(0, np.bool_)
    place = np.arange(len(order)) - np.flatnonzero(first)[np.cumsum(first) - 1] if len(order) else order
    kept = np.sort(order[place < MOST_COMPARED])
    return together[kept], met[kept]
