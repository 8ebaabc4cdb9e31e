"""Rows that meet in bands, against comparing all pairs."""

import numpy as np
import pytest
from numpy.typing import NDArray

from graftline.data import banded, numbering
from graftline.data.banded import MOST_COMPARED, meeting_below


def keys_and_ranks(rows: int, names: int) -> tuple[NDArray[np.uint32], NDArray[np.int8]]:
    source = np.random.default_rng(1)
    keys = source.integers(0, names, (5, rows)).astype(np.uint32) * np.uint32(8_000_001)
    return keys, source.integers(0, 3, rows).astype(np.int8)


@pytest.mark.parametrize(("pending", "sorted_rows"), [(40, 11), (banded.MOST_PENDING, numbering.SORTED_ROWS)])
def test_every_pair_that_meets_is_there_once_where_few_meet(
    pending: int, sorted_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(banded, "MOST_PENDING", pending)
    monkeypatch.setattr(banded, "MOST_COUNTED", pending)
    monkeypatch.setattr(numbering, "SORTED_ROWS", sorted_rows)
    keys, ranks = keys_and_ranks(rows=120, names=80)
    expected = [
        (row, other)
        for row in range(len(ranks))
        for other in range(len(ranks))
        if ranks[other] < ranks[row] and (keys[:, row] == keys[:, other]).any()
    ]
    found = meeting_below(list(keys), ranks)
    assert list(zip(found.rows.tolist(), found.others.tolist(), strict=True)) == expected
    assert len(expected) > 100


def test_of_many_that_meet_a_row_those_are_there_that_it_meets_most_often() -> None:
    keys, ranks = keys_and_ranks(rows=3_000, names=3)
    found = meeting_below(list(keys), ranks)
    counts = np.bincount(found.rows, minlength=len(ranks))
    assert counts.max() == MOST_COMPARED
    assert (counts[ranks > 0] > 0).all()
    assert (counts[ranks == 0] == 0).all()
    met = (keys[:, found.rows] == keys[:, found.others]).sum(axis=0)
    assert met.mean() > 1.5 * 5 / 3  # of two drawn at random five thirds are equal
