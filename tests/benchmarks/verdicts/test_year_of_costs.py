"""A simulated year of costs: dear errors count as they cost, and only cheaper answers are called cheaper."""

import numpy as np

from benchmarks.verdicts.models import held_out
from benchmarks.verdicts.year_of_costs import DEAR, RARE, is_cheaper, prices, promotions, spared
from graftline.verdict.life import Allowance

ROWS = held_out(400, seed=0)
ALONE = Allowance(level=0.05, spent=0.0, looks=0.0)


def test_a_row_spares_what_its_error_costs() -> None:
    price = prices(ROWS)
    assert (price == DEAR).sum() == RARE * 400
    right, wrong = np.ones(400), -np.ones(400)
    assert np.array_equal(spared(ROWS, right, wrong), price)


def test_only_answers_that_cost_less_are_called_cheaper() -> None:
    right, wrong = np.ones(400), np.where(np.arange(400) % 10 == 0, -1.0, 1.0)
    assert is_cheaper(ROWS, right, wrong, ALONE)
    assert not is_cheaper(ROWS, wrong, right, ALONE)
    assert not is_cheaper(ROWS, right, right, ALONE)


def test_a_year_is_the_same_again() -> None:
    assert promotions(ROWS, seed=(1,), looks=5) == promotions(ROWS, seed=(1,), looks=5)
