"""Twins across the split: held-out rows that say the same, or nearly the same, as a row that a model learns from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftline.data.column_parts import FiledParts
from graftline.data.columns import BATCH_ROWS, Column, GrowingColumns
from graftline.data.numbering import Numbers, digests, first_of_each, numbered
from graftline.data.similar_hashes import HASH_BITS, nearest_below
from graftline.data.similar_texts import likest_below, without_sentence_marks
from graftline.data.split_column import SplitColumn
from graftline.data.splitting import SPLITS, Split


@dataclass(frozen=True)
class Twin:
    """A row on an earlier side of the split (see `SPLITS`), and how alike the two are."""

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
    likest = likest_below(contents.kinds(), contents.sides[contents.earliest], similarity=similarity)
    # Rows of one content on one side have the same twin; those on later sides have one that is equal.
    found = dict(
        zip(likest.texts.tolist(), zip(contents.earliest[likest.others], likest.shares, strict=True), strict=True)
    )
    has_one = np.zeros(len(contents.earliest), np.bool_)
    has_one[likest.texts] = True
    for index in np.flatnonzero(has_one[contents.kind_of]).tolist():
        if index not in twins:
            twins[index] = contents.twin(*found[int(contents.kind_of[index])])
    return dict(sorted(twins.items()))


def straddling_hashes(hashes: Sequence[int], splits: Sequence[Split], *, most_bits: int) -> dict[int, Twin]:
    """The held-out rows whose perceptual hash differs in at most `most_bits` from one on an earlier side.

    The one told is on the earliest side, and there the first that is near enough.
    """
    near = nearest_below(hashes, SplitColumn.of(splits).places, most_bits=most_bits)
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

    texts: Column
    """The content of each row, in UTF-8."""
    kind_of: Numbers
    """Which content each row has, in order of first appearance."""
    sides: NDArray[np.int8]
    """Of each row."""
    earliest: Numbers
    """Of each content the first row on the earliest side that has it."""

    @classmethod
    def of(cls, contents: Iterable[str], splits: Sequence[Split]) -> "_Contents":
        left, done, texts = iter(contents), 0, GrowingColumns()
        of_rows = np.empty((len(splits), 2), np.uint64)
        while some := [text.encode("utf-8", "surrogatepass") for text in islice(left, BATCH_ROWS)]:
            texts.add({"": some})
            of_rows[done : done + len(some)] = digests(some)
            done += len(some)
        kind_of, sides = numbered(of_rows), SplitColumn.of(splits).places
        earliest = np.zeros(int(kind_of.max(initial=-1)) + 1, kind_of.dtype)
        for side in range(len(SPLITS) - 1, -1, -1):
            rows = np.flatnonzero(sides == side)[::-1]
            earliest[kind_of[rows]] = rows  # the last one written stays: the first row, of the earliest side
        return cls(texts.done().get("", Column(FiledParts().done())), kind_of, sides, earliest)

    def equal_twins(self) -> dict[int, Twin]:
        """The rows that stand on an earlier side as well."""
        found = [np.zeros(0, np.int64)]
        for start in range(0, len(self.sides), BATCH_ROWS):
            some = slice(start, start + BATCH_ROWS)
            found.append(start + np.flatnonzero(self.sides[self.earliest[self.kind_of[some]]] < self.sides[some]))
        rows = np.concatenate(found)
        others = self.earliest[self.kind_of[rows]]
        return {row: self.twin(other, 1.0) for row, other in zip(rows.tolist(), others, strict=True)}

    def kinds(self) -> Column:
        """Each content once."""
        first = first_of_each(self.kind_of)
        return self.texts if first.all() else self.texts.where(first)

    def twin(self, index: "np.signedinteger[Any]", similarity: float) -> Twin:
        return Twin(int(index), SPLITS[self.sides[index]], float(similarity))
