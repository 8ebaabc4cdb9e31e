import numpy as np
import pytest
from scipy.stats import chi2_contingency, ranksums

from graftline.transfer.permutations import permutation_test
from graftline.watching.columns import rank_difference, share_difference


def members(today: int, rows: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    chosen = np.zeros((rows, 1), dtype=np.float32)
    chosen[:today] = 1
    return chosen


def test_a_column_that_moved_differs_by_as_many_errors_as_in_wilcoxons_test() -> None:
    random = np.random.default_rng(0)
    today, others = random.standard_normal(40) + 1, random.standard_normal(160)
    found = rank_difference(np.r_[today, others][:, None])(members(40, 200))[0]
    assert found == pytest.approx(abs(ranksums(today, others).statistic), rel=1e-3)


def test_the_shares_differ_by_pearsons_chi_square() -> None:
    given = np.zeros((100, 3), dtype=bool)
    given[np.arange(100), np.random.default_rng(0).integers(0, 3, 100)] = True
    table = [given[:30].sum(0), given[30:].sum(0)]
    found = share_difference(given)(members(30, 100))[0]
    assert found == pytest.approx(chi2_contingency(table, correction=False).statistic, rel=1e-4)


@pytest.mark.parametrize("change", [lambda rows: 5 * rows, lambda rows: np.where(rows > 0, np.nan, rows)])
def test_a_wider_spread_and_missing_values_are_found(change) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(0)
    values = np.r_[change(random.standard_normal(60)), random.standard_normal(240)][:, None]
    assert permutation_test(rank_difference(values), 60, 240, random, most_draws=999).p < 0.01


def test_columns_that_never_change_say_nothing() -> None:
    random = np.random.default_rng(0)
    assert rank_difference(np.ones((50, 2)))(members(10, 50))[0] == 0
    assert permutation_test(rank_difference(np.ones((50, 2))), 10, 40, random).p > 0.001
    assert share_difference(np.zeros((50, 2), dtype=bool))(members(10, 50))[0] == 0
