"""When a score may be believed: the interval of its rank correlation with finished trainings."""

import numpy as np
import pytest
from scipy.stats import weightedtau

from graftline.transfer.agreement import agreement

BASES = list("abcdef")


def test_a_score_that_orders_six_base_models_rightly_means_something() -> None:
    found = agreement([1, 2, 3, 4, 5, 6], [10, 20, 30, 40, 50, 60], BASES)
    assert found.tau == pytest.approx(1.0)
    assert found.means_something


def test_the_order_of_four_base_models_means_nothing_yet() -> None:
    found = agreement([1, 2, 3, 4], [1, 2, 3, 4], BASES[:4])
    assert found.tau == pytest.approx(1.0)
    assert not found.means_something


def test_many_trainings_of_two_base_models_are_not_many_points() -> None:
    found = agreement([1, 1, 1, 2, 2, 2], [3, 4, 5, 6, 7, 8], ["a", "a", "a", "b", "b", "b"])
    assert (found.points, found.bases) == (6, 2)
    assert found.low == pytest.approx(0.0)
    assert not found.means_something


def test_a_score_of_pure_luck_rarely_means_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graftline.transfer.agreement.RESAMPLES", 100)
    random = np.random.default_rng(0)
    drawn = [agreement(random.normal(size=8), random.normal(size=8), list("abcdefgh")) for _ in range(40)]
    assert sum(one.means_something for one in drawn) <= 4


def test_the_correlation_is_that_of_scipy_and_nothing_to_order_has_none() -> None:
    scores, results = [3, 1, 2, 5, 4], [0.3, 0.2, 0.1, 0.5, 0.4]
    assert agreement(scores, results, BASES[:5]).tau == pytest.approx(weightedtau(scores, results).statistic)
    for nothing in (agreement([], [], []), agreement([1], [1], ["a"]), agreement([1, 1], [1, 2], ["a", "b"])):
        assert (nothing.tau, nothing.means_something) == (None, False)
