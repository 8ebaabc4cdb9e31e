"""Rows' gains in a record: the same rows of two tables, and how alike two candidates are."""

import numpy as np
import pytest
from pydantic import JsonValue

from graftline.evaluation.row_gains import MOST_ROWS, correlations, not_among, row_gains, row_gains_of, seen_share


def names(first: int, last: int) -> list[str]:
    return [f"row {number}" for number in range(first, last)]


def test_what_a_record_holds_is_read_as_it_was() -> None:
    seen = row_gains(names(0, 900), np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 900))
    again = row_gains_of(seen.as_json())
    assert (again.rows, again.names.tolist(), again.gains.tolist()) == (900, seen.names.tolist(), seen.gains.tolist())


@pytest.mark.parametrize(
    ("plain", "said"),
    [({"rows": 1}, "names"), ({"rows": 1, "names": "?", "gains": ""}, "cannot be read"), (None, "_Plain")],
)
def test_what_is_no_gains_is_refused(plain: JsonValue, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        row_gains_of(plain)


@pytest.mark.parametrize("count", [1000, 20_000])
def test_the_share_of_rows_that_were_seen_is_known_of_large_tables_too(count: int) -> None:
    nothing = np.zeros(count)
    before, now = row_gains(names(0, count), nothing), row_gains(names(count // 4, count + count // 4), nothing)
    assert len(now.names) == min(count, MOST_ROWS)
    assert seen_share(before, now) == pytest.approx(0.75, abs=0.03)
    assert seen_share(before, row_gains(names(count, 2 * count), nothing)) == 0
    assert seen_share(now, now) == 1


@pytest.mark.parametrize("count", [1000, 20_000])
def test_rows_that_came_later_are_known_where_all_earlier_ones_are(count: int) -> None:
    before = row_gains(names(0, count), np.zeros(count))
    assert not not_among(before, names(0, count)).any()
    assert not_among(before, names(count, 2 * count)).mean() == pytest.approx(min(1, MOST_ROWS / count), abs=0.02)


def test_correlations_are_those_of_the_gains_on_rows_that_both_saw() -> None:
    random = np.random.default_rng(0)
    shared, first, second = (random.standard_normal(600) for _ in range(3))
    looks = [
        row_gains(names(0, 600), shared + first),
        row_gains(names(0, 600), shared + second),
        row_gains(names(600, 1200), first),
    ]
    found = correlations(looks)
    assert found[0, 1] == pytest.approx(np.corrcoef(shared + first, shared + second)[0, 1], abs=0.03)
    assert found[0, 2] == 0
    assert np.diag(found) == pytest.approx(1)
