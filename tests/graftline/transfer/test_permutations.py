import itertools

import numpy as np
import pytest
from scipy.stats import kstest, pearsonr

from graftline.evaluation.metrics import Floats
from graftline.transfer.permutations import ENOUGH_EXTREMES, MOST_DRAWS, Membership, permutation_test


def mean_of(values: Floats):  # type: ignore[no-untyped-def]
    def statistic(members: Membership) -> Floats:
        return np.asarray(values @ members, dtype=np.float64)

    return statistic


def test_the_p_value_is_that_of_all_choices_where_these_can_be_counted() -> None:
    values = np.random.default_rng(7).random(9)  # no two choices have one sum
    sums = [sum(chosen) for chosen in itertools.combinations(values, 3)]
    exact = np.mean([one >= values[:3].sum() for one in sums])
    random = np.random.default_rng(0)
    found = [permutation_test(mean_of(values), 3, 6, random, enough=200).p for _ in range(20)]
    assert np.mean(found) == pytest.approx(exact, abs=0.02)


def test_what_no_draw_reaches_has_the_smallest_p_value_that_so_many_draws_can_show() -> None:
    values = np.r_[np.full(30, 10.0), np.arange(200) / 200]
    tested = permutation_test(mean_of(values), 30, 200, np.random.default_rng(0))
    assert (tested.p, tested.draws) == (1 / (1 + MOST_DRAWS), MOST_DRAWS)


def test_draws_end_early_where_nothing_is_to_be_seen() -> None:
    values = np.r_[np.zeros(30), np.ones(200)]
    tested = permutation_test(mean_of(values), 30, 200, np.random.default_rng(0))
    assert tested.draws < 100
    assert tested.p == ENOUGH_EXTREMES / tested.draws


def test_p_values_are_not_smaller_than_chance_makes_them_also_where_all_rows_are_alike() -> None:
    random = np.random.default_rng(1)
    alike = [permutation_test(mean_of(np.ones(20)), 5, 15, random).p for _ in range(600)]
    assert np.mean(np.array(alike) <= 0.05) < 0.08
    assert np.mean(np.array(alike) <= 0.5) == pytest.approx(0.5, abs=0.07)


def test_p_values_of_a_growing_pool_are_independent_of_one_another() -> None:
    """Also where the pool is so small that its luck would show."""
    random, pairs = np.random.default_rng(2), []
    for _ in range(1_000):
        pool, seen = random.standard_normal(10), []
        for _ in range(2):
            today = random.standard_normal(10)
            seen.append(permutation_test(mean_of(np.r_[today, pool]), 10, len(pool), random, most_draws=199).p)
            pool = np.r_[pool, today]
        pairs.append(seen)
    first, second = np.array(pairs).T
    assert pearsonr(first, second).pvalue > 0.01
    assert kstest(second, "uniform").statistic < 0.1


def test_p_values_that_share_their_held_out_rows_are_not() -> None:
    random, pairs = np.random.default_rng(2), []
    for _ in range(300):
        fixed = random.standard_normal(10)
        days = [np.r_[random.standard_normal(10), fixed] for _ in range(2)]
        pairs.append([permutation_test(mean_of(day), 10, 10, random, most_draws=199).p for day in days])
    first, second = np.array(pairs).T
    assert pearsonr(first, second).statistic > 0.25


def test_what_is_no_number_is_no_evidence() -> None:
    """Rows that hold an infinity make every choice of them no number."""
    random = np.random.default_rng(3)

    def nothing(members: Membership) -> Floats:
        return np.full(members.shape[1], np.nan)

    found = [permutation_test(nothing, 5, 15, random).p for _ in range(300)]
    assert np.mean(np.array(found) <= 0.05) < 0.1
