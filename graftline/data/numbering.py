"""Equal values have equal numbers, found by sorting digests of sixteen bytes: the values need not be in memory."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 16

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
    if not len(some):
        return np.zeros(0, kind)
    order, starts = _in_runs(some)
    first = np.zeros(len(some), np.bool_)
    first[order[starts]] = True
    # Each run has the number of its first value, and these are numbered in their own order.
    of_run = (np.cumsum(first, dtype=kind) - kind(1))[order[starts]]
    numbers = np.empty(len(some), kind)
    numbers[order] = np.repeat(of_run, np.diff(np.append(np.flatnonzero(starts), len(some))))
    return numbers


def _in_runs(some: Digests) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The places of all digests, equal ones beside each other as they come; and where others begin."""
    order = np.argsort(some[:, 0], kind="stable")
    half = some[order, 0]
    alike = half[1:] == half[:-1]
    del half
    of_both = np.flatnonzero(alike)
    if (some[order[of_both], 1] != some[order[of_both + 1], 1]).any():  # in one half alone: next to never
        order = np.lexsort((some[:, 1], some[:, 0]))
        alike = (some[order[1:]] == some[order[:-1]]).all(axis=1)
    return order, np.append(True, ~alike)


def first_of_each(numbers: Numbers) -> NDArray[np.bool_]:
    """Which values appear for the first time."""
    highest = np.maximum.accumulate(numbers)
    return np.append(True, highest[1:] > highest[:-1]) if len(numbers) else np.zeros(0, np.bool_)
