"""Rows in groups: the exact test of their sums, what their likeness costs, and intervals from whole groups."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t, ttest_1samp

from graftline.evaluation import single_label
from graftline.evaluation.bootstrap import CONFIDENCE, differences, row_counts, scores
from graftline.evaluation.comparison import Slice, compare, comparison_of
from graftline.evaluation.groups import (
    MOST_ADDITIONS,
    Likeness,
    corrected_p,
    group_sums,
    grouped,
    least_groups,
    sign_flips,
    tail_of,
)
from graftline.evaluation.metrics import Floats, Integers
from graftline.evaluation.paired_tests import (
    gains,
    independent_rows,
    margin_p_values,
    mcnemar,
    rows_for_groups,
    rows_in_groups,
)


def in_groups(count: int, size: int) -> Integers:
    return np.repeat(np.arange(count), size)


def alike(count: int, size: int, *, share: float, seed: int, better: float = 0.05, worse: float = 0.05) -> Floats:
    """Gains of 1, 0 and -1 whose rows go along within a group, in this share of what moves them: (rows,)."""
    random = np.random.default_rng(seed)
    moved = np.sqrt(share) * random.standard_normal((count, 1)) + np.sqrt(1 - share) * random.standard_normal(
        (count, size)
    )
    return np.asarray((moved > norm.isf(better)).astype(float) - (moved < norm.ppf(worse))).ravel()


@given(st.lists(st.integers(-6, 6), max_size=10))
def test_the_test_of_sums_counts_all_ways_of_turning_their_signs(sums: list[int]) -> None:
    totals = [abs(sum(a * b for a, b in zip(sums, signs, strict=True))) for signs in itertools.product((1, -1), repeat=len(sums))]  # fmt: skip  # noqa: E501
    expected = np.mean([total >= abs(sum(sums)) for total in totals])
    assert sign_flips(np.array(sums, dtype=np.int64)) == pytest.approx(expected)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 20))
def test_of_groups_of_one_row_it_is_exact_mcnemar(better: int, worse: int, same: int) -> None:
    sums = np.repeat(np.array([1, -1, 0]), [better, worse, same])
    assert sign_flips(sums) == pytest.approx(mcnemar(better, worse))


def test_small_p_values_are_exact_and_of_many_groups_near_the_normal_law() -> None:
    assert sign_flips(np.full(40, 3)) == pytest.approx(2.0**-39, rel=1e-9)
    sums = np.random.default_rng(0).integers(-3, 4, 4000) + np.repeat([1, 0], [500, 3500])
    by_normal_law = 2 * norm.sf(abs(sums.sum()) / np.sqrt((sums**2).sum()))
    assert by_normal_law < 1e-3
    assert sign_flips(sums) == pytest.approx(by_normal_law, rel=0.05)
    assert len(sums) * abs(sums).sum() < MOST_ADDITIONS


@pytest.mark.parametrize(("groups", "size"), [(10, 20), (25, 20), (25, 3)])
def test_few_groups_err_no_more_often_than_their_level_where_rows_as_such_do(groups: int, size: int) -> None:
    places, by_group, by_row = in_groups(groups, size), [], []
    for seed in range(1000):
        seen = gains(alike(groups, size, share=0.5, seed=seed), np.zeros(groups * size), hits=True, groups=places)
        by_group.append(seen.mean > 0 and seen.p <= 0.05)
        by_row.append(seen.mean > 0 and mcnemar(seen.better, seen.worse) <= 0.05)
    assert np.mean(by_group) <= 0.025 + 0.012
    if size == 20:
        assert np.mean(by_row) > 0.06


def test_the_design_effect_is_the_variance_of_the_mean_beside_that_of_independent_rows() -> None:
    drawn = [alike(60, 10, share=0.5, seed=seed) for seed in range(800)]
    expected = np.var([each.mean() for each in drawn]) / np.mean([each.var() / each.size for each in drawn])
    found = np.mean([grouped(each, in_groups(60, 10), hits=True).design_effect for each in drawn])
    assert found == pytest.approx(expected, rel=0.12)
    assert expected > 1.5
    rows = [grouped(each, np.arange(600), hits=True).design_effect for each in drawn[:20]]
    assert rows == pytest.approx([1.0] * 20)


def test_of_equal_models_nothing_is_known_of_how_alike_rows_are() -> None:
    nothing = Likeness.of(np.zeros(60), in_groups(6, 10))
    assert (nothing.correlation, nothing.effect) == (1.0, 10.0)
    unknown, elsewhere = (
        gains(np.zeros(300), np.zeros(300), hits=True, groups=in_groups(15, 20), like=like)
        for like in (None, Likeness(0.0, 1.0))
    )
    assert margin_p_values(unknown, margin=0.05)[0] > 0.1
    assert unknown.design_effect == elsewhere.design_effect == 20
    assert margin_p_values(gains(np.zeros(300), np.zeros(300), hits=True), margin=0.05)[0] < 0.001


def test_the_margin_is_kept_where_a_slice_of_groups_truly_loses_exactly_as_much() -> None:
    groups, size, margin = 40, 10, 0.05
    by_group, by_row = [], []
    for seed in range(1000):
        each = alike(groups, size, share=0.5, seed=seed, better=0.03, worse=0.08)
        seen = gains(each, np.zeros(len(each)), hits=True, groups=in_groups(groups, size))
        by_group.append(margin_p_values(seen, margin=margin)[0] <= 0.025)
        by_row.append(margin_p_values(gains(each, np.zeros(len(each)), hits=True), margin=margin)[0] <= 0.025)
    assert np.mean(by_group) <= 0.025 + 0.015
    assert np.mean(by_row) > 0.06


def test_gains_that_are_no_hits_are_tested_by_the_number_of_groups() -> None:
    random = np.random.default_rng(0)
    of_groups = random.normal(0.1, 1, 12)
    seen = gains(np.repeat(of_groups, 30), np.zeros(360), hits=False, groups=in_groups(12, 30))
    within, _ = margin_p_values(seen, margin=0.2)
    # As if there were one row for each group: all its rows are the same.
    assert within == pytest.approx(ttest_1samp(of_groups, -0.2, alternative="greater").pvalue, rel=0.02)


def test_one_group_shows_nothing() -> None:
    seen = gains(np.ones(300), np.zeros(300), hits=True, groups=np.zeros(300, dtype=np.int64))
    assert seen.p == 1.0
    assert margin_p_values(seen, margin=0.05) == (1.0, 1.0)
    assert independent_rows(seen, level=0.05, power=0.8) == 0


@pytest.mark.parametrize(("level", "groups"), [(0.05, 6), (0.025, 7), (1e-4, 15), (1.0, 1)])
def test_so_many_groups_can_show_something_at_a_level_and_one_less_can_not(level: float, groups: int) -> None:
    assert least_groups(level) == groups
    assert sign_flips(np.ones(groups, dtype=np.int64)) <= level
    assert groups == 1 or sign_flips(np.ones(groups - 1, dtype=np.int64)) > level


def test_rows_that_are_enough_in_groups_are_as_many_times_as_many_as_the_design_effect_says() -> None:
    found = rows_for_groups(1000, size=5, design_effect=3.0, level=0.05, power=0.8)
    assert 3000 <= found <= 3030
    few = rows_for_groups(100, size=50, design_effect=10.0, level=0.001, power=0.8)
    assert few > 1.1 * 1000
    # So few rows that not even all groups could show it.
    assert rows_for_groups(5, size=10, design_effect=1.0, level=0.001, power=0.8, differ=0.5) == 220
    each = alike(100, 10, share=0.5, seed=0)
    seen, alone = (gains(each, np.zeros(1000), hits=True, groups=those) for those in (in_groups(100, 10), None))
    assert rows_in_groups(500, alone, level=0.05, power=0.8) == 500
    assert rows_in_groups(500, seen, level=0.05, power=0.8) >= 500 * seen.design_effect
    assert independent_rows(alone, level=0.05, power=0.8) == 1000
    assert independent_rows(seen, level=0.05, power=0.8) <= 1000 / seen.design_effect


def test_whole_groups_are_drawn() -> None:
    places = np.array([3, 1, 3, 1, 7, 3])
    counts = np.concatenate(list(row_counts(np.zeros(6, dtype=np.int64), 50, 0, places)))
    assert counts.shape == (50, 6)
    for group in (1, 3, 7):
        those = counts[:, places == group]
        assert (those == those[:, :1]).all()
    drawn = np.stack([counts[:, place] for place in (1, 0, 4)])
    assert (drawn.sum(axis=0) == 3).all()
    assert len(np.unique(drawn, axis=1).T) > 5


def probabilities(right: Floats, targets: Integers) -> Floats:
    return np.where(np.eye(2)[np.where(right > 0, targets, 1 - targets)] == 1, 0.9, 0.1)


def test_the_interval_over_groups_is_that_of_their_means() -> None:
    random, groups, size = np.random.default_rng(0), 25, 40
    right = (random.random((groups, 1)) * 0.4 + 0.6 > random.random((groups, size))).ravel().astype(float)
    targets = random.integers(0, 2, groups * size)
    found = scores(
        probabilities(right, targets), targets, of=single_label.metrics_of, resamples=4000, seed=0,
        strata=targets, groups=in_groups(groups, size),
    )["accuracy"]  # fmt: skip
    means = group_sums(right, in_groups(groups, size)) / size
    reach = t.isf((1 - CONFIDENCE) / 2, groups - 1) * means.std(ddof=1) / np.sqrt(groups)
    assert (found.low, found.high) == pytest.approx((means.mean() - reach, means.mean() + reach), abs=0.012)


def test_the_interval_over_few_groups_holds_the_truth_as_often_as_it_says() -> None:
    random, missed = np.random.default_rng(0), []
    targets = np.tile([0, 1], 100)
    for seed in range(300):
        right = np.repeat(random.random(10) < 0.7, 20).astype(float) * (random.random(200) < 0.95)
        other = np.repeat(random.random(10) < 0.7, 20).astype(float) * (random.random(200) < 0.95)
        found = differences(
            probabilities(right, targets), probabilities(other, targets), targets, of=single_label.metrics_of,
            resamples=300, seed=seed, groups=in_groups(10, 20),
        )["accuracy"]  # fmt: skip
        missed.append(not found.low <= 0 <= found.high)
    assert np.mean(missed) <= 0.05 + 0.03


def test_of_many_groups_the_intervals_are_the_usual_ones_and_of_few_wider() -> None:
    assert tail_of(0.025, 100_000) == pytest.approx(0.025, rel=1e-3)
    assert tail_of(0.025, 10) < 0.01
    assert corrected_p(0.03, 100_000) == pytest.approx(0.03, rel=1e-3)
    assert corrected_p(0.03, 10) > 0.05


def test_of_a_single_group_its_rows_are_drawn() -> None:
    targets, right = np.tile([0, 1], 50), (np.arange(100) % 5 > 0).astype(float)
    one, none = (
        scores(probabilities(right, targets), targets, of=single_label.metrics_of, resamples=100, seed=0, groups=groups)
        for groups in (np.zeros(100, dtype=np.int64), None)
    )
    assert one == none


def test_a_comparison_by_group_survives_being_written_down_and_without_groups_nothing_is_added() -> None:
    targets, places = np.tile([0, 1], 60), in_groups(12, 10)
    ours, theirs = (probabilities((np.arange(120) % step > 0).astype(float), targets) for step in (5, 4))
    part = [Slice("half", "first", np.arange(120) < 60)]
    by_group, by_row = (
        compare(single_label.SCORES, ours, theirs, targets, against="it", slices=part, resamples=50, seed=0, groups=g)
        for g in (places, None)
    )
    assert comparison_of(by_group.as_json()) == by_group
    assert by_group.gains.grouped is not None
    assert by_group.gains.grouped.groups == 12
    assert by_group.slices[0].gains.grouped is not None
    assert by_group.slices[0].gains.grouped.groups == 6
    assert "grouped" not in str(by_row.as_json())
