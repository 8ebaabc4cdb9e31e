"""Twins across the split: held-out rows that say the same, or nearly the same, as a row that a model learns from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graftline.data.similar_texts import likest_below, without_sentence_marks
from graftline.data.splitting import Split

# The length of the perceptual hashes, and how many rows are compared with all others at once: 50 MB for 100,000.
HASH_BITS = 256
HASHES_PER_STEP = 64
# A row has its twin on a side before its own: a model learns from the first, and is chosen by the second, from which
# a solved head learns, too.
ORDER: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Twin:
    """A row on an earlier side of the split, and how alike the two are."""

    index: int
    split: Split
    similarity: float
    """1 if they are equal: the share of the pieces of texts (Jaccard), of the hash's bits, or 1."""


def straddling(texts: Sequence[str], splits: Sequence[Split], *, similarity: float) -> dict[int, Twin]:
    """The held-out rows that have a near duplicate on an earlier side, by index, each with one such twin.

    `texts` are normalised.
    """
    texts = [without_sentence_marks(text) for text in texts]
    found = straddling_equals(texts, splits)
    kinds = _first_of_each_kind(texts, splits)
    kept = list(kinds.values())
    pairs = likest_below(
        [texts[index] for index in kept], [ORDER[splits[index]] for index in kept], similarity=similarity
    )
    twins = {kept[row]: Twin(kept[other], splits[kept[other]], shared) for row, other, shared in pairs} | found
    return {
        index: twins[kinds[kind]] for index, kind in enumerate(zip(texts, splits, strict=True)) if kinds[kind] in twins
    }


def straddling_hashes(hashes: Sequence[int], splits: Sequence[Split], *, most_bits: int) -> dict[int, Twin]:
    """The held-out rows whose perceptual hash differs in at most `most_bits` from one on an earlier side.

    Every pair is compared: 100,000 rows take about twenty seconds.
    """
    words = np.array([_words(number) for number in hashes], np.uint64).reshape(-1, HASH_BITS // 64)
    order = np.array([ORDER[split] for split in splits], np.int8)
    # The earliest side first, so that the first one near enough is the one to name.
    others = np.flatnonzero(order < max(ORDER.values()))
    others = others[np.argsort(order[others], kind="stable")]
    twins: dict[int, Twin] = {}
    held_out = np.flatnonzero(order > 0)
    for start in range(0, len(held_out) if len(others) else 0, HASHES_PER_STEP):
        rows = held_out[start : start + HASHES_PER_STEP]
        bits = sum(
            np.bitwise_count(words[rows, None, place] ^ words[others, place]).astype(np.uint16)
            for place in range(words.shape[1])
        )
        near = (bits <= most_bits) & (order[others] < order[rows, None])
        for row in np.flatnonzero(near.any(axis=1)):
            place = int(near[row].argmax())
            other = int(others[place])
            twins[int(rows[row])] = Twin(other, splits[other], 1 - int(bits[row, place]) / HASH_BITS)
    return twins


def straddling_equals(contents: Sequence[str], splits: Sequence[Split]) -> dict[int, Twin]:
    """The held-out rows whose content stands on an earlier side as well."""
    earliest: dict[str, int] = {}
    for index, content in enumerate(contents):
        if content not in earliest or ORDER[splits[index]] < ORDER[splits[earliest[content]]]:
            earliest[content] = index
    return {
        index: Twin(earliest[content], splits[earliest[content]], 1.0)
        for index, content in enumerate(contents)
        if ORDER[splits[earliest[content]]] < ORDER[splits[index]]
    }


def _words(number: int) -> list[int]:
    """A perceptual hash in pieces that the processor compares at once."""
    return [(number >> shift) & (2**64 - 1) for shift in range(0, HASH_BITS, 64)]


def _first_of_each_kind(texts: Sequence[str], splits: Sequence[Split]) -> dict[tuple[str, Split], int]:
    """One index for each text on each side: equal rows have equal twins."""
    firsts: dict[tuple[str, Split], int] = {}
    for index, kind in enumerate(zip(texts, splits, strict=True)):
        firsts.setdefault(kind, index)
    return firsts
