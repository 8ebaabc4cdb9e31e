"""Twins across the split: held-out rows that say the same, or nearly the same, as a row that a model learns from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graftline.data.columns import BATCH_ROWS, numbered, raw
from graftline.data.similar_hashes import HASH_BITS, nearest_below
from graftline.data.similar_texts import likest_below, without_sentence_marks
from graftline.data.splitting import Split

if TYPE_CHECKING:
    import pyarrow as pa

# A row has its twin on a side before its own: a model learns from the first, and is chosen by the second, from which
# a solved head learns, too.
ORDER: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}
SIDES: tuple[Split, ...] = tuple(ORDER)


@dataclass(frozen=True)
class Twin:
    """A row on an earlier side of the split, and how alike the two are."""

    index: int
    split: Split
    similarity: float
    """1 if they are equal: the share of the pieces of texts (Jaccard), of the hash's bits, or 1."""


def straddling(texts: Iterable[str], splits: Sequence[Split], *, similarity: float) -> dict[int, Twin]:
    """The held-out rows that have a near duplicate on an earlier side, by index, each with one such twin.

    `texts` are normalised.
    """
    contents = _Contents.of(map(without_sentence_marks, texts), splits)
    twins = contents.equal_twins()
    likest = likest_below(contents.kinds, contents.sides[contents.earliest], similarity=similarity)
    # Rows of one content on one side have the same twin; those on later sides have one that is equal.
    other = np.full(len(contents.kinds), -1)
    share = np.zeros(len(contents.kinds))
    other[likest.texts], share[likest.texts] = contents.earliest[likest.others], likest.shares
    for index in np.flatnonzero(other[contents.kind_of] >= 0).tolist():
        kind = contents.kind_of[index]
        if index not in twins:
            twins[index] = contents.twin(other[kind], share[kind])
    return dict(sorted(twins.items()))


def straddling_hashes(hashes: Sequence[int], splits: Sequence[Split], *, most_bits: int) -> dict[int, Twin]:
    """The held-out rows whose perceptual hash differs in at most `most_bits` from one on an earlier side.

    The one told is on the earliest side, and there the first that is near enough.
    """
    near = nearest_below(hashes, _sides(splits), most_bits=most_bits)
    return {
        row: Twin(other, splits[other], 1 - bits / HASH_BITS)
        for row, other, bits in zip(near.rows.tolist(), near.others.tolist(), near.bits.tolist(), strict=True)
    }


def straddling_equals(contents: Iterable[str], splits: Sequence[Split]) -> dict[int, Twin]:
    """The held-out rows whose content stands on an earlier side as well."""
    return _Contents.of(contents, splits).equal_twins()


@dataclass(frozen=True)
class _Contents:
    """The different contents of some rows, and where each stands."""

    kinds: "pa.LargeBinaryArray"
    """Each content once, in UTF-8."""
    kind_of: NDArray[np.int64]
    """The content of each row."""
    sides: NDArray[np.int8]
    """Of each row."""
    earliest: NDArray[np.int64]
    """Of each content the first row on the earliest side that has it."""

    @classmethod
    def of(cls, contents: Iterable[str], splits: Sequence[Split]) -> "_Contents":
        import pyarrow as pa

        left, parts = iter(contents), [pa.array([], pa.large_binary())]
        while some := raw(islice(left, BATCH_ROWS)):
            parts.append(pa.array(some, pa.large_binary()))
        kind_of, kinds = numbered(parts)
        parts.clear()
        pa.default_memory_pool().release_unused()
        sides = _sides(splits)
        order = np.lexsort((np.arange(len(sides)), sides, kind_of))
        first = np.searchsorted(kind_of[order], np.arange(len(kinds)))
        return cls(kinds, kind_of, sides, order[first])

    def equal_twins(self) -> dict[int, Twin]:
        """The rows that stand on an earlier side as well."""
        earliest = self.earliest[self.kind_of]
        found = np.flatnonzero(self.sides[earliest] < self.sides)
        return {index: self.twin(earliest[index], 1.0) for index in found.tolist()}

    def twin(self, index: "np.int64", similarity: float) -> Twin:
        return Twin(int(index), SIDES[self.sides[index]], float(similarity))


def _sides(splits: Sequence[Split]) -> NDArray[np.int8]:
    return np.fromiter((ORDER[split] for split in splits), np.int8, len(splits))
