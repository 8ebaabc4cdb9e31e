"""Perceptual hashes of pictures that differ in few bits: of two such ones some part is equal, or nearly so."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from graftline.data.text_pieces import Integers, spread

HASH_BITS = 256
# Of 16 parts one is equal if two hashes differ in up to 15 bits, and one differs in at most one bit if in up to 31
# (the pigeonhole principle). A part takes one bit of each row and column of frequencies: neighbours say the same of
# many pictures, and of 5,000 MNIST digits fifteen times as many pairs share one of the 16 rows.
PARTS = 16
PART_BITS = np.array([[row * PARTS + (5 * row + part) % PARTS for row in range(PARTS)] for part in range(PARTS)])
# Of the hashes that share a part with a row, at first so many are compared, the best ones to tell; then more each time.
COMPARED_FIRST, COMPARED_MORE = 16, 8
# Parts that differ in so many bits are looked for at most: with three, comparing all pairs would take no longer. Two
# hashes that differ in more than 47 bits may be overlooked thereby: of 56 bits one pair in 10,000, of 64 bits in 100.
MOST_FLIPPED = 2
# Pairs that are compared at once: fifty MB.
MOST_AT_ONCE = 1_000_000

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Nearest:
    """Rows by their places, each with another, and the bits in which the two differ."""

    rows: Integers
    others: Integers
    bits: Integers


def nearest_below(hashes: Sequence[int], ranks: NDArray[np.int8], *, most_bits: int) -> Nearest:
    """For each row one of a lower rank whose hash differs in at most so many bits: of the lowest rank the first one.

    Only rows are compared that share a part of their hashes; the more bits may differ, the more do. Up to 47 bits
    none is overlooked.
    """
    words = np.frombuffer(b"".join(number.to_bytes(HASH_BITS // 8, "little") for number in hashes), np.uint64)
    kinds, first, kind_of = _kinds(words.reshape(-1, HASH_BITS // 64), ranks)
    lower = int(np.searchsorted(ranks[first], ranks.max(initial=0)))
    held_out = np.unique(kind_of[ranks > ranks.min(initial=0)])
    best = _best_near(kinds, held_out, lower, most_bits)
    others = first[best[kind_of]]
    rows = np.flatnonzero(ranks[others] < ranks)
    return Nearest(rows, others[rows], _differing(kinds, kind_of[rows], best[kind_of[rows]]))


def _kinds(words: Words, ranks: NDArray[np.int8]) -> tuple[Words, Integers, Integers]:
    """Each hash once, the best one to tell first; the row to tell of each; and which hash each row has."""
    kinds, kind_of = np.unique(words, axis=0, return_inverse=True)
    kind_of = kind_of.reshape(-1)
    order = np.lexsort((np.arange(len(ranks)), ranks, kind_of))
    first = order[np.searchsorted(kind_of[order], np.arange(len(kinds)))]
    by_rank = np.lexsort((first, ranks[first]))
    place = np.empty(len(kinds), np.int64)
    place[by_rank] = np.arange(len(kinds))
    return kinds[by_rank], first[by_rank], place[kind_of]


def _best_near(kinds: Words, rows: Integers, lower: int, most_bits: int) -> Integers:
    """For each hash the first one among those before `lower` that is near it, or itself; asked for `rows` alone."""
    best = np.arange(len(kinds))
    for part in _parts(kinds):
        order = np.argsort(part[:lower], kind="stable")
        ends = np.cumsum(np.bincount(part[:lower], minlength=2**PARTS))
        for flipped in _flips(min(most_bits // PARTS, MOST_FLIPPED)):
            key = part[rows] ^ np.uint16(flipped)
            high = ends[key]
            low = np.append(0, ends)[key]
            _look_below(kinds, best, rows, order, low, high, most_bits)
    return best


def _look_below(
    kinds: Words, best: Integers, rows: Integers, others: Integers, low: Integers, high: Integers, most_bits: int
) -> None:
    """Lower the `best` of each row to the first near one of `others` from `low` to `high`, which rise.

    By rounds: where many share a part, such as the pictures of one camera, the first of them mostly is near already.
    """
    most = COMPARED_FIRST
    while len(rows):
        left = np.flatnonzero(low < high)
        # Those behind the best are not asked for.
        left = left[others[low[left]] < best[rows[left]]]
        rows, low, high = rows[left], low[left], high[left]
        sizes = np.minimum(high - low, most)
        for some in _steps(sizes):
            one = np.repeat(rows[some], sizes[some])
            other = others[spread(low[some], sizes[some])]
            near = _differing(kinds, one, other) <= most_bits
            np.minimum.at(best, one[near], other[near])
        low, most = low + sizes, most * COMPARED_MORE


def _parts(kinds: Words) -> Iterator[NDArray[np.uint16]]:
    """Each part of every hash."""
    for bits in PART_BITS:
        values = np.zeros(len(kinds), np.uint16)
        for place, bit in enumerate(bits.tolist()):
            values |= ((kinds[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)) << np.uint64(place)).astype(
                np.uint16
            )
        yield values


def _flips(most: int) -> Iterator[int]:
    """Every pattern of at most so many bits of a part."""
    for count in range(most + 1):
        yield from (sum(1 << bit for bit in bits) for bits in combinations(range(HASH_BITS // PARTS), count))


def _differing(kinds: Words, ones: Integers, others: Integers) -> Integers:
    """In how many bits the hashes of each pair differ."""
    bits = np.zeros(len(ones), np.int64)
    for word in kinds.T:
        bits += np.bitwise_count(word[ones] ^ word[others])
    return bits


def _steps(sizes: Integers) -> Iterator[slice]:
    """Parts of the rows with about as many pairs as are compared at once."""
    ends = np.cumsum(sizes)
    marks = np.searchsorted(ends, np.arange(MOST_AT_ONCE, ends[-1] if len(ends) else 0, MOST_AT_ONCE), side="right")
    for start, end in zip([0, *marks.tolist()], [*marks.tolist(), len(sizes)], strict=True):
        if end > start:
            yield slice(start, end)
