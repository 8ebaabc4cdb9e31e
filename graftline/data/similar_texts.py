"""Texts that share nearly all of their pieces, each of a few characters: the likest of many, without comparing all."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Of characters, not of words: a smiley, a minus, and a script without spaces count as much as letters between spaces.
# With five, one exchanged character makes texts of less than 58 characters others: short ones say much in one mark.
PIECE_CHARACTERS = 5
# What ends or divides a sentence, behind a word: "Great!!!" is "great.", while ":(" is not ":)", and "1.5" not "15".
SENTENCE_MARK = re.compile("(?<=\\w)[.,;!\u2026\u3001\u3002\uff0c\uff01\uff1b]+(?=\\s|$)")
# In a text with fewer letters and digits such a mark says too much.
LETTERS_BESIDE_MARKS = 20
# Texts that are cut, and that are joined with all others, at a time: a hundred MB.
TEXTS_PER_STEP = 1000
# Pieces are counted in so many boxes, to know the rare ones. Two in one box cost a little time, and change no answer.
BOXES = 2**22
# Thousands may be made from one template: so many are compared in full, those first that share most rare pieces.
MOST_COMPARED = 16
# Odd numbers without a pattern: what is too large for 64 bits is cut off, as in every hash of this kind.
PLACES = np.array([pow(0x9E3779B97F4A7C15, power, 2**64) for power in range(1, PIECE_CHARACTERS + 1)], np.uint64)

Hashes = NDArray[np.uint64]
Integers = NDArray[np.int64]


def without_sentence_marks(text: str) -> str:
    """The text without the marks of its sentences, if it is long enough to say the same."""
    bare = SENTENCE_MARK.sub("", text)
    return bare if sum(mark.isalnum() for mark in bare) >= LETTERS_BESIDE_MARKS else text


def likest_below(texts: Sequence[str], ranks: Sequence[int], *, similarity: float) -> Iterator[tuple[int, int, float]]:
    """For each text the one of a lower rank that is most like it, and the share of pieces that both have in one order.

    Only such as are at least so similar (Jaccard). Two of that kind share some of their rarest pieces (the prefix
    filter of Chaudhuri et al. 2006), so few pairs have to be looked at.
    """
    rank = np.asarray(ranks)
    if not len(rank):
        return
    rare, sizes = _rarest_pieces(texts, similarity)
    rows = np.flatnonzero(rank > rank.min())
    for start in range(0, len(rows), TEXTS_PER_STEP):
        some = rows[start : start + TEXTS_PER_STEP]
        shared = rare[some] @ rare.T
        for row, first, last in zip(some, shared.indptr, shared.indptr[1:], strict=False):
            others, common = shared.indices[first:last], shared.data[first:last]
            lower = rank[others] < rank[row]
            near = _promising(sizes, int(row), others[lower], common[lower], similarity)
            alike = _shares([texts[row], *(texts[other] for other in near)], similarity)
            if len(near) and alike.max() >= similarity:
                yield int(row), int(near[alike.argmax()]), float(alike.max())


def _promising(sizes: Integers, row: int, others: Integers, common: Integers, similarity: float) -> Integers:
    """Those of the others that can be as similar, by what they have in `common` among their rarest pieces."""
    needed = similarity / (1 + similarity) * (sizes[row] + sizes[others])
    # All pieces of one of the two that are not among its rarest may still be shared.
    possible = common + np.maximum(
        sizes[row] - _rare(sizes[row], similarity), sizes[others] - _rare(sizes[others], similarity)
    )
    fit = (possible >= needed - 0.5) & (np.minimum(sizes[row], sizes[others]) >= needed - 0.5)
    likest: Integers = others[fit][np.lexsort((others[fit], -common[fit]))]
    return likest[:MOST_COMPARED]


def _rare(sizes: "Integers | np.int64", similarity: float) -> Integers:
    """How many of a text's rarest pieces must hold one of another text's that is so similar."""
    return np.asarray(sizes - np.ceil(similarity * sizes - 1e-9).astype(np.int64) + 1)


def _shares(texts: Sequence[str], similarity: float) -> NDArray[np.float64]:
    """The share of pieces that the first text has in common with each of the others, or less than `similarity`.

    In one order: "not the shop but the blog" has nearly the pieces of "not the blog but the shop".
    """
    cut = _cut(texts)
    starts = np.cumsum(cut.sizes) - cut.sizes
    shared = np.bincount(cut.rows[np.isin(cut.pieces, cut.pieces[cut.rows == 0])], minlength=len(texts))
    for row in np.flatnonzero(shared >= similarity * (cut.sizes[0] + cut.sizes - shared)):
        own, theirs = (slice(starts[at], starts[at] + cut.sizes[at]) for at in (0, row))
        _, here, there = np.intersect1d(cut.pieces[own], cut.pieces[theirs], return_indices=True)
        order = np.argsort(cut.places[own][here])
        shared[row] = _longest_rise(cut.places[theirs][there][order])
    shares: NDArray[np.float64] = shared / (cut.sizes[0] + cut.sizes - shared)
    return shares[1:]


def _longest_rise(places: Integers) -> int:
    """How many of the numbers rise from the first to the last, if the others are left out (patience sorting)."""
    ends: list[int] = []
    for place in places.tolist():
        at = bisect_left(ends, place)
        ends[at : at + 1] = [place]
    return len(ends)


def _rarest_pieces(texts: Sequence[str], similarity: float) -> "tuple[csr_matrix, Integers]":
    """The rarest pieces of each text as a matrix (texts, pieces) of ones, and how many pieces each text has."""
    from scipy.sparse import csr_matrix

    steps = range(0, len(texts), TEXTS_PER_STEP)
    counts = np.zeros(BOXES, np.int64)
    for start in steps:
        counts += np.bincount(_boxes(_cut(texts[start : start + TEXTS_PER_STEP]).pieces), minlength=BOXES)
    kept = [_rarest(_cut(texts[start : start + TEXTS_PER_STEP]), counts, similarity) for start in steps]
    pieces, sizes = (np.concatenate(parts) for parts in zip(*((one.pieces, one.sizes) for one in kept), strict=True))
    rows = np.concatenate([one.rows + start for one, start in zip(kept, steps, strict=True)])
    names, columns = np.unique(pieces, return_inverse=True)
    return csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape=(len(texts), len(names))), sizes


def _boxes(pieces: Hashes) -> Integers:
    return (pieces % np.uint64(BOXES)).astype(np.int64)


@dataclass(frozen=True)
class _Pieces:
    """The pieces of some texts, as hashes, text by text."""

    pieces: Hashes
    rows: Integers
    """Of which text each piece is."""
    sizes: Integers
    """How many pieces each text has."""
    places: Integers
    """Where each piece stands, counted through all texts."""


def _rarest(cut: _Pieces, counts: Integers, similarity: float) -> _Pieces:
    order = np.lexsort((cut.pieces, counts[_boxes(cut.pieces)], cut.rows))
    places = np.arange(len(order)) - np.repeat(np.cumsum(cut.sizes) - cut.sizes, cut.sizes)
    kept = places < np.repeat(_rare(cut.sizes, similarity), cut.sizes)
    return _Pieces(cut.pieces[order][kept], cut.rows[kept], cut.sizes, cut.places[order][kept])


def _cut(texts: Sequence[str]) -> _Pieces:
    """All pieces of each text; what lies beyond its ends counts as characters, and a second equal piece is another."""
    marks = [np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32) for text in texts]
    beyond = np.zeros(PIECE_CHARACTERS - 1, np.uint64)
    line = np.concatenate(
        [beyond, *(part for text in marks for part in (text.astype(np.uint64) + np.uint64(1), beyond))]
    )
    sizes = np.array([len(text) for text in marks]) + PIECE_CHARACTERS - 1
    rows = np.repeat(np.arange(len(texts)), sizes)
    hashes = np.zeros(len(rows), np.uint64)
    for place, factor in enumerate(PLACES):
        hashes += line[place : place + len(rows)] * factor
    hashes = _mixed(hashes)
    order = np.lexsort((hashes, rows))
    hashes = hashes[order]
    first = np.append(True, (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1]))
    starts = np.flatnonzero(first)
    times = np.arange(len(rows)) - starts[np.cumsum(first) - 1]
    return _Pieces(_mixed(hashes + times.astype(np.uint64)), rows, sizes, order)


def _mixed(hashes: Hashes) -> Hashes:
    """Hashes of which every bit depends on every one (the end of splitmix64, Steele et al. 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
