"""The simulated year of several targets is judged by the rule over all of them."""

import numpy as np
import pytest

from benchmarks.verdicts import models
from benchmarks.verdicts.models import held_out
from benchmarks.verdicts.year_of_targets import PROBES, Years, page, year
from graftline.verdict.policy import Policy


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "RESAMPLES", 200)


def test_a_candidate_that_is_much_better_in_one_target_is_promoted_where_that_target_decides() -> None:
    rows, policy = held_out(1600, seed=0), Policy(wanted_difference=0.06)
    any_target = [year(rows, "any target", policy, seed=(3, number), looks=1, probes=[1]) for number in range(2)]
    main = [year(rows, "the main target", policy, seed=(3, number), looks=1, probes=[1]) for number in range(2)]
    assert sum(one.found[1] for one in any_target) >= 1  # what stands in the way of the others is their calibration
    assert sum(one.found[1] for one in main) >= 1


@pytest.mark.full
def test_three_targets_together_err_rarely_in_a_fortnight() -> None:
    rows = held_out(800, seed=0)
    false = [bool(year(rows, "any target", Policy(), seed=(1, number), looks=14).promoted) for number in range(16)]
    assert np.mean(false) <= 0.13


def test_the_page_tells_shares_and_intervals() -> None:
    text = page([Years("any target", 1610, 40, 1, dict.fromkeys(PROBES, 0.5))], Policy())
    assert "| 1,610 | any target | 40 | **2.5 %** (0.1 to 13.2) | 50 % | 50 % | 50 % | 50 % |" in text
