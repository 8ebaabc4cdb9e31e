"""Paired tests against scipy, brute force and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom, binomtest, norm, ttest_1samp

from graftline.evaluation.bootstrap import Score
from graftline.evaluation.paired_tests import (
    MOST_ROWS,
    Gains,
    gains,
    holm,
    margin_p_values,
    mcnemar,
    mcnemar_power,
    rows_for_gains,
    rows_for_interval,
    rows_for_mcnemar,
    smallest_difference,
    tango_z,
)

COUNTS = st.integers(0, 60)


def hits(better: int, worse: int, rows: int) -> Gains:
    each = np.array([1.0] * better + [0.0] * (rows - better - worse) + [-1.0] * worse)
    return gains(each, np.zeros(rows), hits=True)


@pytest.mark.full
@given(COUNTS, COUNTS)
def test_mcnemar_is_the_sum_of_all_splits_that_are_as_unlikely(better: int, worse: int) -> None:
    pairs = better + worse
    chances = [math.comb(pairs, first) / 2**pairs for first in range(pairs + 1)]
    expected = sum(chance for chance in chances if chance <= chances[better] * (1 + 1e-9))
    assert mcnemar(better, worse) == pytest.approx(expected)
    assert mcnemar(better, worse) == mcnemar(worse, better)


def test_the_power_of_mcnemar_is_that_of_a_sum_over_all_tables() -> None:
    rows, difference, discordance = 60, 0.15, 0.3
    first, second = (discordance + difference) / 2, (discordance - difference) / 2
    expected = 0.0
    for better, worse in itertools.product(range(rows + 1), repeat=2):
        if better + worse <= rows and better > worse and binomtest(better, better + worse).pvalue <= 0.05:
            chance = binom.pmf(better, rows, first) * binom.pmf(worse, rows - better, second / (1 - first))
            expected += float(chance)
    found = mcnemar_power(rows, difference=difference, discordance=discordance, level=0.05)
    assert found == pytest.approx(expected, abs=1e-9)


def test_without_a_true_difference_exact_mcnemar_keeps_its_level_at_every_number_of_rows() -> None:
    for rows in (20, 100, 1000, 5000):
        assert mcnemar_power(rows, difference=1e-9, discordance=0.07, level=0.05) <= 0.025


@pytest.mark.parametrize(("difference", "discordance"), [(0.02, 0.067), (0.05, 0.03), (0.01, 0.2), (0.2, 0.2)])
def test_the_computed_rows_are_the_first_that_are_enough(difference: float, discordance: float) -> None:
    rows = rows_for_mcnemar(difference=difference, discordance=discordance, level=0.05, power=0.8)

    def power(count: int) -> float:
        return mcnemar_power(count, difference=difference, discordance=discordance, level=0.05)

    assert power(rows - 1) < 0.8 <= power(rows)
    # Two models that differ by more than they are discordant are discordant by as much.
    discordance = max(difference, discordance)
    reach = norm.isf(0.025) * math.sqrt(discordance) + norm.isf(0.2) * math.sqrt(discordance - difference**2)
    assert rows == pytest.approx((reach / difference) ** 2, rel=0.25)


def test_the_smallest_difference_is_the_first_that_is_shown_four_times_out_of_five() -> None:
    found = smallest_difference(1610, discordance=0.067, level=0.05, power=0.8)
    assert found == 0.0186
    for difference, enough in ((found, True), (found - 0.0001, False)):
        power = mcnemar_power(1610, difference=difference, discordance=0.067, level=0.05)
        assert (power >= 0.8) == enough


def test_five_rows_can_show_no_difference_however_large() -> None:
    assert smallest_difference(5, discordance=0.5, level=0.05, power=0.8) is None
    assert smallest_difference(6, discordance=0.5, level=0.05, power=0.8) is not None


@given(COUNTS, COUNTS, st.integers(0, 200))
def test_without_a_margin_tangos_score_is_that_of_mcnemar(better: int, worse: int, same: int) -> None:
    expected = (better - worse) / math.sqrt(better + worse) if better + worse else 0.0
    assert tango_z(better, worse, max(1, better + worse + same), margin=0.0) == pytest.approx(expected)


@given(COUNTS, COUNTS, st.integers(1, 200), st.floats(0.01, 0.5))
def test_tangos_score_has_the_variance_that_is_likeliest_at_the_margin(
    better: int, worse: int, same: int, margin: float
) -> None:
    rows = better + worse + same

    def unlikely(share_worse: float) -> float:
        """The negative log likelihood where the difference of the shares is -margin."""
        share_better = share_worse - margin
        shares = (share_better, share_worse, 1 - share_better - share_worse)
        return -sum(
            count * math.log(max(share, 1e-300)) for count, share in zip((better, worse, same), shares, strict=True)
        )

    found = minimize_scalar(unlikely, bounds=(margin, (1 + margin) / 2), method="bounded", options={"xatol": 1e-10})
    variance = rows * (2 * found.x - margin - margin**2)
    assert tango_z(better, worse, rows, margin=margin) == pytest.approx(
        (better - worse + rows * margin) / math.sqrt(variance), rel=1e-3, abs=1e-3
    )


def test_equal_models_are_shown_to_lose_nothing_by_enough_rows_only() -> None:
    assert margin_p_values(hits(0, 0, 200), margin=0.05)[0] < 0.001
    assert margin_p_values(hits(0, 0, 20), margin=0.05)[0] > 0.1


def test_the_margin_is_kept_where_a_slice_truly_loses_exactly_as_much() -> None:
    random = np.random.default_rng(0)
    rows, margin = 250, 0.05
    drawn = random.multinomial(rows, (0.03, 0.08, 0.89), size=4000)
    claims = sum(margin_p_values(hits(better, worse, rows), margin=margin)[0] <= 0.025 for better, worse, _ in drawn)
    assert claims / 4000 == pytest.approx(0.025, abs=0.008)


def test_gains_that_are_no_hits_are_tested_by_students_t() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(0.1, 1, 80), random.normal(0, 1, 80)
    within, beyond = margin_p_values(gains(first, second, hits=False), margin=0.2)
    assert within == pytest.approx(ttest_1samp(first - second, -0.2, alternative="greater").pvalue)
    assert beyond == pytest.approx(ttest_1samp(first - second, -0.2, alternative="less").pvalue)


@pytest.mark.parametrize(("gain", "expected"), [(0.0, (0.0, 1.0)), (-0.05, (1.0, 1.0)), (-0.1, (1.0, 0.0))])
def test_gains_without_spread_are_what_they_are(gain: float, expected: tuple[float, float]) -> None:
    assert margin_p_values(gains(np.full(9, gain), np.zeros(9), hits=False), margin=0.05) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_holm_is_the_closed_test_of_all_intersections(p_values: list[float]) -> None:
    places = range(len(p_values))
    subsets = [chosen for size in range(1, len(p_values) + 1) for chosen in itertools.combinations(places, size)]
    for place, adjusted in enumerate(holm(p_values)):
        least = [len(chosen) * min(p_values[other] for other in chosen) for chosen in subsets if place in chosen]
        assert adjusted == pytest.approx(min(1.0, max(least)))


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []


def test_rows_for_an_interval_are_those_at_which_it_leaves_the_distance_out() -> None:
    # Standard error 0.01 on 400 rows; a distance of 0.02 takes one of 0.02 / (1.96 + 0.84).
    score = Score(0.0, -0.0196, 0.0196)
    found = rows_for_interval(score, 400, distance=0.02, level=0.05, power=0.8)
    assert found == pytest.approx(400 * (2.8016 * 0.01 / 0.02) ** 2, abs=1)
    nothing = Score(math.nan, math.nan, math.nan)
    assert rows_for_interval(nothing, 400, distance=0.02, level=0.05, power=0.8) == MOST_ROWS


def test_rows_for_a_slice_shrink_with_the_square_of_the_distance() -> None:
    seen = hits(12, 10, 300)
    near, far = (rows_for_gains(seen, distance=distance, level=0.05, power=0.9) for distance in (0.02, 0.04))
    assert near == pytest.approx(4 * far, rel=0.01)
    assert rows_for_gains(hits(0, 0, 300), distance=0.05, level=0.05, power=0.9) > 1


def test_gains_count_better_and_worse_rows() -> None:
    seen = gains(np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.0, 0.0]), hits=True)
    assert (seen.rows, seen.mean, seen.better, seen.worse, seen.discordance) == (4, 0.25, 2, 1, 0.75)
    assert seen.deviation == pytest.approx(np.std([1, -1, 1, 0], ddof=1))
