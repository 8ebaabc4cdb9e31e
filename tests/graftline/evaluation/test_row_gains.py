"""Rows' gains in a record: the same rows of two tables, and how alike two candidates are."""

import numpy as np
import pytest
from pydantic import JsonValue

from graftline.evaluation.row_gains import (
    MOST_ROWS,
    STEPS,
    correlations,
    not_among,
    row_gains,
    row_gains_of,
    seen_share,
)


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


def test_rows_of_a_group_that_was_seen_are_no_other_rows() -> None:
    before = row_gains(["a", "b"], np.zeros(2), ["one", "two"])
    assert not_among(before, ["a", "c", "d"], ["one", "two", "three"]).tolist() == [False, False, True]
    assert not_among(before, ["a", "c", "d"]).tolist() == [False, True, True]


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


def test_groups_are_read_as_they_were_and_their_sums_are_those_of_the_rows() -> None:
    groups = [f"speaker {number % 7}" for number in range(70)]
    gained = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 70)
    seen = row_gains(names(0, 70), gained, groups)
    again = row_gains_of(seen.as_json())
    assert seen.of_groups is not None
    assert again.of_groups is not None
    assert (again.rows, again.of_groups.groups, again.of_groups.design_effect) == (70, 7, seen.of_groups.design_effect)
    assert again.of_groups.gains.tolist() == seen.of_groups.gains.tolist()
    sums = sorted(sum(gained[number::7]) for number in range(7))
    largest = max(map(abs, sums))
    assert sorted(seen.of_groups.gains / STEPS * largest) == pytest.approx(sums, abs=largest / STEPS)
    assert "of_groups" not in row_gains(names(0, 70), gained).as_json()


def test_correlations_of_groups_are_those_of_their_sums() -> None:
    random = np.random.default_rng(0)
    groups = [f"speaker {number // 20}" for number in range(4000)]
    of_groups, first, second = np.repeat(random.standard_normal(200), 20), *random.standard_normal((2, 4000))
    by_group, by_row = (
        correlations([row_gains(names(0, 4000), of_groups + own, those) for own in (first, second)])[0, 1]
        for those in (groups, None)
    )
    sums = [(of_groups + own).reshape(200, 20).sum(axis=1) for own in (first, second)]
    assert by_group == pytest.approx(sums[0] @ sums[1] / np.linalg.norm(sums[0]) / np.linalg.norm(sums[1]), abs=0.01)
    assert by_group > 0.9
    assert by_row < 0.6


def test_new_rows_of_a_group_that_was_seen_are_not_fresh_and_old_rows_are_not_in_other_groups() -> None:
    nothing, groups = np.zeros(60), [f"speaker {number % 6}" for number in range(60)]
    before = row_gains(names(0, 60), nothing, groups)
    later = row_gains(names(60, 120), nothing, groups)
    others = row_gains(names(60, 120), nothing, [f"other {group}" for group in groups])
    regrouped = row_gains(names(0, 60), nothing, [f"other {group}" for group in groups])
    ungrouped = row_gains(names(0, 60), nothing)
    found = [seen_share(before, now) for now in (before, later, others, regrouped, ungrouped)]
    assert found == [1, 1, 0, 1, 1]
    assert seen_share(ungrouped, before) == 1


def test_a_look_at_groups_is_independent_of_one_at_rows() -> None:
    gained = np.ones(60)
    looks = [row_gains(names(0, 60), gained), row_gains(names(0, 60), gained, names(0, 60))]
    assert correlations(looks) == pytest.approx(np.eye(2))
