import numpy as np
import pytest

from graftline.watching.evidence import needed
from graftline.watching.looks import Watched
from graftline.watching.scores import FALLS, confidence_sequence, lowest_mean, pays_for_scores


@pytest.mark.parametrize("true", [0.5, 0.87, 0.99])
def test_bounds_are_hardly_ever_wrong_at_any_time(true: float) -> None:
    random, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        bounds = confidence_sequence((random.random(400) < true).astype(float), 0.05)
        # The newest ones are cut with all before them.
        wrong += not bounds.low <= true <= bounds.high
    assert wrong / 400 <= 0.05


def test_bounds_close_in_on_the_mean() -> None:
    values = (np.random.default_rng(0).random(20_000) < 0.8).astype(float)
    bounds = confidence_sequence(values, 0.05)
    assert bounds.low < bounds.value < bounds.high
    assert bounds.high - bounds.low < 0.03


def test_without_rows_anything_is_possible() -> None:
    bounds = confidence_sequence(np.zeros(0), 0.05)
    assert (bounds.low, bounds.high) == (0, 1)


@pytest.mark.parametrize("promised", [0.6, 0.85, 0.97])
def test_bets_on_a_score_that_is_kept_pay_no_more_than_their_stake_on_average(promised: float) -> None:
    right, wrong = pays_for_scores(np.ones(1), promised), pays_for_scores(np.zeros(1), promised)
    for one, other in zip(right, wrong, strict=True):
        assert promised * one + (1 - promised) * other == pytest.approx(1)
        assert one > 0


def test_a_score_that_fell_is_found_and_one_that_rose_is_not() -> None:
    random = np.random.default_rng(0)
    for true, alarm in ((0.7, True), (0.9, False)):
        watched = Watched()
        for look in range(60):
            watched = watched.after(pays_for_scores((random.random(30) < true).astype(float), 0.85), look, 1 / 6)
        assert (watched.alarm is not None) is alarm
    assert needed(1 / 6) == pytest.approx(120)


def test_what_promises_everything_or_nothing_cannot_be_bet_on() -> None:
    assert pays_for_scores(np.zeros(5), 1.0) == pays_for_scores(np.zeros(0), 0.9) == (1.0,) * len(FALLS)


@pytest.mark.parametrize("true", [0.3, 0.85, 0.99])
@pytest.mark.parametrize("rows", [20, 200, 2_000])
def test_the_lowest_mean_is_hardly_ever_above_the_true_one(true: float, rows: int) -> None:
    random = np.random.default_rng(rows)
    lows = [lowest_mean((random.random(rows) < true).astype(float), 0.05) for _ in range(400)]
    assert np.mean(np.array(lows) > true) <= 0.05
    assert true - np.mean(lows) < 3 * np.sqrt(true * (1 - true) / rows) + 3 / rows


def test_without_rows_or_without_one_that_is_right_nothing_is_promised() -> None:
    assert lowest_mean(np.zeros(0), 0.01) == lowest_mean(np.zeros(9), 0.01) == 0
    assert 0.9 < lowest_mean(np.ones(200), 0.01) < 1
