"""Equal values have equal numbers, found by sorting digests of sixteen bytes: the values need not be in memory."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 16
# So many values are sorted at a time: a hundred MB. At most 2^16 times as many there may be.
SORTED_ROWS = 2_000_000

# (values, 2): the two halves of each.
Digests = NDArray[np.uint64]
# Of 32 bits where these are enough: ten million numbers are 40 MB then.
Numbers = NDArray[np.signedinteger[Any]]


def digests(values: Iterable[bytes]) -> Digests:
    """The digest of each value: among ten thousand million two share one with a chance of one in 10^18."""
    joined = b"".join(hashlib.blake2b(value, digest_size=DIGEST_BYTES).digest() for value in values)
    return np.frombuffer(joined, np.uint64).reshape(-1, 2)


def numbered(some: Digests) -> Numbers:
    """The number of each value, equal where two are equal, in order of first appearance."""
    kind = np.int32 if len(some) < 2**31 else np.int64
    first = np.empty(len(some), kind)
    for rows in in_parts(some[:, 0]):
        first[rows] = rows[_first_of_equals(some[rows])]
    # The first ones are numbered in their own order.
    numbers: Numbers = np.cumsum(first == np.arange(len(some), dtype=kind), dtype=kind)[first]
    return np.subtract(numbers, 1, out=numbers)


def in_parts(keys: NDArray[np.unsignedinteger[Any]]) -> Iterator[NDArray[np.int64]]:
    """All places, some of them at a time: those of equal keys together, so that they can be sorted part by part."""
    parts = -(-len(keys) // SORTED_ROWS)
    part_of = (keys % keys.dtype.type(max(parts, 1))).astype(np.uint16)
    for part in range(parts):
        if len(rows := np.flatnonzero(part_of == part)):
            yield rows


def _first_of_equals(some: Digests) -> NDArray[np.int64]:
    """For each digest the place of the first that is equal."""
    order = np.argsort(some[:, 0], kind="stable")
    alike = some[order[1:], 0] == some[order[:-1], 0]
    if (alike & (some[order[1:], 1] != some[order[:-1], 1])).any():  # equal in one half alone: next to never
        order = np.lexsort((some[:, 1], some[:, 0]))
        alike = (some[order[1:]] == some[order[:-1]]).all(axis=1)
    starts = np.flatnonzero(np.append(True, ~alike))
    first = np.empty(len(some), np.int64)
    first[order] = np.repeat(order[starts], np.diff(np.append(starts, len(some))))
    return first


def first_of_each(numbers: Numbers) -> NDArray[np.bool_]:
    """Which values appear for the first time."""
    highest = np.maximum.accumulate(numbers)
    return np.append(True, highest[1:] > highest[:-1]) if len(numbers) else np.zeros(0, np.bool_)
