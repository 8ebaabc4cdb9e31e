"""Texts cut into overlapping pieces of a few characters, each piece a number: equal pieces have equal numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of characters, not of words: a smiley, a minus, and a script without spaces count as much as letters between spaces.
# With five, one exchanged character makes texts of less than 58 characters others: short ones say much in one mark.
PIECE_CHARACTERS = 5
# A piece is known within its text by so many bits of its hash, beside which the text's own number has room.
BITS = 48
MOST_TEXTS = 2 ** (64 - BITS)
# Odd numbers without a pattern: what is too large for 64 bits is cut off, as in every hash of this kind.
PLACES = np.array([pow(0x9E3779B97F4A7C15, power, 2**64) for power in range(1, PIECE_CHARACTERS + 1)], np.uint64)

Hashes = NDArray[np.uint64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Pieces:
    """The pieces of some texts, text by text, none twice in a text."""

    pieces: Hashes
    """Of `BITS` bits."""
    sizes: Integers
    """How many each text has: at least four."""
    places: Integers
    """Where each piece stands in all of these texts, if that was asked for; otherwise empty."""

    @property
    def starts(self) -> Integers:
        """Where the pieces of each text begin."""
        starts: Integers = np.cumsum(self.sizes) - self.sizes
        return starts


def cut(texts: Sequence[str], *, with_places: bool = False) -> Pieces:
    """All pieces of at most `MOST_TEXTS` texts, in no order within each.

    What lies beyond a text's ends counts as characters, and a second equal piece is another.
    """
    hashes, sizes = _hashes(texts)
    if not len(hashes):
        return Pieces(hashes, sizes, np.zeros(0, np.int64))
    rows = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes) << np.uint64(BITS)
    keys = rows | hashes >> np.uint64(64 - BITS)
    # The first of several equal pieces of a text is the one that stands first.
    order = np.argsort(keys) if with_places else None
    keys = np.sort(keys) if order is None else keys[order]
    first = np.append(True, keys[1:] != keys[:-1])
    runs = np.cumsum(first) - 1
    times = np.arange(len(keys)) - np.flatnonzero(first)[runs]
    places = np.zeros(0, np.int64) if order is None else np.sort(runs << 32 | order) & 2**32 - 1
    pieces = mixed((keys << np.uint64(64 - BITS)) + times.astype(np.uint64)) >> np.uint64(64 - BITS)
    return Pieces(pieces, sizes, places)


def mixed(hashes: Hashes) -> Hashes:
    """Hashes of which every bit depends on every one (the end of splitmix64, Steele et al. 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def spread(starts: Integers, sizes: Integers) -> Integers:
    """The places `start`, `start` + 1, ... of each run, one run after the other."""
    ends = np.cumsum(sizes)
    places: Integers = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)
    return places


def _hashes(texts: Sequence[str]) -> tuple[Hashes, Integers]:
    """The hash of each piece where it stands, and how many each text has."""
    characters = np.fromiter(map(len, texts), np.int64, len(texts))
    marks = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    beyond = PIECE_CHARACTERS - 1
    sizes = characters + beyond
    line = np.zeros(int(sizes.sum()) + beyond, np.uint64)
    line[spread(np.cumsum(sizes) - sizes + beyond, characters)] = marks + np.uint64(1)
    hashes = np.zeros(int(sizes.sum()), np.uint64)
    for place, factor in enumerate(PLACES):
        hashes += line[place : place + len(hashes)] * factor
    return mixed(hashes), sizes
