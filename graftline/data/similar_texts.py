"""Texts that share nearly all of their pieces: for each the likest of many, and no step that looks at all pairs."""

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftline.data.banded import Bands, Pairs, meeting_below
from graftline.data.columns import Column
from graftline.data.text_pieces import BITS, MOST_TEXTS, Hashes, Integers, cut, mixed, spread

if TYPE_CHECKING:
    import pyarrow as pa

# What ends or divides a sentence, behind a word: "Great!!!" is "great.", while ":(" is not ":)", and "1.5" not "15".
SENTENCE_MARK = re.compile("(?<=\\w)[.,;!\u2026\u3001\u3002\uff0c\uff01\uff1b]+(?=\\s|$)")
# In a text with fewer letters and digits such a mark says too much.
LETTERS_BESIDE_MARKS = 20
# Texts of so many bytes are cut at a time, because a processor holds their pieces near itself; pairs of texts of so
# many pieces are compared at a time: a hundred MB; and of so many they are in memory.
BYTES_PER_CUT, PIECES_PER_COMPARISON, PIECES_PER_READING = 50_000, 1_000_000, 64_000_000
# Two texts that are exactly as similar as is asked for are overlooked with this chance; likelier ones with less.
OVERLOOKED = 1e-4
# Of so many smallest hashes a band is made at least: with fewer, texts that have little in common meet too often.
FEWEST_ROWS, MOST_ROWS = 4, 8
# The share of pairs, just similar enough, that meet in one band, from which more bands would cost more than they find.
MEETING_IN_A_BAND = 0.4


def without_sentence_marks(text: str) -> str:
    """The text without the marks of its sentences, if it is long enough to say the same."""
    bare = SENTENCE_MARK.sub("", text)
    return bare if bare == text or sum(mark.isalnum() for mark in bare) >= LETTERS_BESIDE_MARKS else text


@dataclass(frozen=True)
class Likest:
    """Texts by their places, each with the likest one of a lower rank, and the share of pieces that both have."""

    texts: Integers
    others: Integers
    shares: NDArray[np.float64]


def likest_below(texts: Column, ranks: NDArray[np.int8], *, similarity: float) -> Likest:
    """For each text the one of a lower rank that is most like it: those at least so similar (Jaccard), in one order.

    `texts` are UTF-8, no two of them equal. Candidates share a band of MinHash values (Broder 1997; Leskovec et al.,
    Mining of Massive Datasets, 3.4), and what they share is then counted; of equally alike ones the first is told.
    """
    if not (ranks > ranks.min(initial=0)).any():
        return Likest(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    keys, sizes = _band_keys(texts, similarity)
    pairs = meeting_below(keys, ranks)
    ours, theirs = sizes[pairs.rows], sizes[pairs.others]
    pairs = pairs.among(np.minimum(ours, theirs) >= similarity * np.maximum(ours, theirs))
    near, shares = _near(texts, sizes, pairs, similarity)
    order = np.lexsort((near.others, -shares, near.rows))
    best = order[np.append(True, near.rows[order][1:] != near.rows[order][:-1])] if len(order) else order
    return Likest(near.rows[best], near.others[best], shares[best])


def banding(similarity: float) -> tuple[int, int]:
    """How many bands, and of how many hashes each, so that two texts so similar meet in one of them, but for a few."""
    rows = MOST_ROWS
    if similarity < 1:
        rows = min(max(int(math.log(MEETING_IN_A_BAND) / math.log(similarity)), FEWEST_ROWS), MOST_ROWS)
    apart = 1 - similarity**rows
    return (math.ceil(math.log(OVERLOOKED) / math.log(apart)) if apart > OVERLOOKED else 1), rows


def _band_keys(texts: Column, similarity: float) -> tuple[Bands, NDArray[np.int32]]:
    """The key of each text in each band: equal where its smallest hashes are; and how many pieces each text has."""
    bands, rows = banding(similarity)
    factors = (mixed(np.arange(1, bands * rows + 1, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
    keys, sizes, before = Bands(bands, len(texts)), np.empty(len(texts), np.int32), 0
    for some in texts.arrays():
        of_some = np.empty((bands, len(some)), np.uint32)
        for start, end in _steps(_bytes_of(some), BYTES_PER_CUT, MOST_TEXTS // 2):
            pieces = cut(_decoded(some.slice(start, end - start)))
            sizes[before + start : before + end], starts = pieces.sizes, pieces.starts
            hashes = (pieces.pieces >> np.uint64(BITS - 32)).astype(np.uint32)
            for band in range(bands):
                key = np.zeros(end - start, np.uint64)
                for factor in factors[band * rows : (band + 1) * rows]:
                    key = mixed(key + np.minimum.reduceat(hashes * factor, starts))
                of_some[band, start:end] = key >> np.uint64(32)
        keys.write(of_some, before)
        before += len(some)
    return keys, sizes


def _near(
    texts: Column, sizes: NDArray[np.int32], pairs: Pairs, similarity: float
) -> tuple[Pairs, NDArray[np.float64]]:
    """Those of the pairs that share so much, each with its share: counted first, and then in one order."""
    counted = np.concatenate([np.zeros(0), *_shares(texts, sizes, pairs, _common, with_places=False)])
    pairs = pairs.among(counted >= similarity)
    shares = np.concatenate([np.zeros(0), *_shares(texts, sizes, pairs, _common_in_order, with_places=True)])
    return pairs.among(shares >= similarity), shares[shares >= similarity]


def _shares(
    texts: Column,
    sizes: NDArray[np.int32],
    pairs: Pairs,
    common: "Callable[[_Sides], Integers]",
    *,
    with_places: bool,
) -> Iterator[NDArray[np.float64]]:
    """The share of pieces that two texts have in common, pair by pair.

    The texts of many pairs are read in one go, because each go reads the whole file; and then compared by fewer.
    """
    of_pairs = sizes[pairs.rows].astype(np.int64) + sizes[pairs.others]
    for first, last in _steps(of_pairs, PIECES_PER_READING, len(of_pairs)):
        rows, others = pairs.rows[first:last], pairs.others[first:last]
        named = np.unique(np.concatenate([rows, others]))
        read = texts.at(named).values
        rows, others = np.searchsorted(named, rows), np.searchsorted(named, others)
        for start, end in _steps(of_pairs[first:last], PIECES_PER_COMPARISON, MOST_TEXTS // 2):
            sides = _Sides.of(read, rows[start:end], others[start:end], with_places=with_places)
            shared = common(sides)
            yield shared / (sides.together - shared)


@dataclass(frozen=True)
class _Sides:
    """The pieces of the first text of each pair, and then those of the second."""

    keys: Hashes
    """The number of the pair, and the piece."""
    places: Integers
    """Where each piece stands in its text, if that was asked for."""
    together: Integers
    """How many pieces the two of each pair have, counted twice if they share them."""

    @classmethod
    def of(cls, texts: "pa.LargeBinaryArray", some: Integers, others: Integers, *, with_places: bool) -> "_Sides":
        named, at = np.unique(np.concatenate([some, others]), return_inverse=True)
        cut_texts = cut(_decoded(texts.take(named)), with_places=with_places)
        sizes = cut_texts.sizes[at]
        here = spread(cut_texts.starts[at], sizes)
        pair = np.repeat(np.tile(np.arange(len(some), dtype=np.uint64), 2), sizes)
        keys = pair << np.uint64(BITS) | cut_texts.pieces[here]
        places = cut_texts.places[here] if with_places else cut_texts.places
        return cls(keys, places, sizes[: len(some)] + sizes[len(some) :])


def _common(sides: _Sides) -> Integers:
    """How many pieces the two texts of each pair share."""
    keys = np.sort(sides.keys)
    pairs = (keys[1:][keys[1:] == keys[:-1]] >> np.uint64(BITS)).astype(np.int64)
    return np.bincount(pairs, minlength=len(sides.together))


def _common_in_order(sides: _Sides) -> Integers:
    """The same in one order: "not the shop but the blog" has nearly the pieces of "not the blog but the shop"."""
    order = np.argsort(sides.keys, kind="stable")
    keys = sides.keys[order]
    both = np.flatnonzero(keys[1:] == keys[:-1])
    pair = (keys[both] >> np.uint64(BITS)).astype(np.int64)
    by_place = np.lexsort((sides.places[order[both]], pair))
    pair, places = pair[by_place], sides.places[order[both + 1]][by_place]
    common = np.bincount(pair, minlength=len(sides.together))
    starts = np.cumsum(common) - common
    falls = (places[1:] < places[:-1]) & (pair[1:] == pair[:-1])
    for one in np.unique(pair[1:][falls]).tolist():
        common[one] = _longest_rise(places[starts[one] : starts[one] + common[one]])
    return common


def _longest_rise(places: Integers) -> int:
    """How many of the numbers rise from the first to the last, if the others are left out (patience sorting)."""
    ends: list[int] = []
    for place in places.tolist():
        at = bisect_left(ends, place)
        ends[at : at + 1] = [place]
    return len(ends)


def _bytes_of(texts: "pa.LargeBinaryArray") -> Integers:
    from pyarrow import compute

    lengths: Integers = compute.binary_length(texts).to_numpy(zero_copy_only=False)
    return lengths


def _decoded(texts: "pa.LargeBinaryArray") -> Sequence[str]:
    return [text.decode("utf-8", "surrogatepass") for text in texts.to_pylist()]


def _steps(lengths: Integers, most: int, most_rows: int) -> Iterator[tuple[int, int]]:
    """From where to where, so that what lies there is about `most` long in all, and no more rows than that."""
    ends, start = np.cumsum(lengths), 0
    while start < len(lengths):
        before = ends[start - 1] if start else 0
        end = int(np.searchsorted(ends, before + most, side="right"))
        end = min(max(end, start + 1), start + most_rows)
        yield start, end
        start = end
