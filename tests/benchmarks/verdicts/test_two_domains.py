"""The joint rule of two domains promotes no more than the test in the one where the improvement is wanted."""

import numpy as np
import pytest

from benchmarks.verdicts import models
from benchmarks.verdicts.models import held_out
from benchmarks.verdicts.two_domains import promotions


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "RESAMPLES", 200)


def test_some_years_of_few_looks_promote_nothing_that_is_no_better_there() -> None:
    there, home = held_out(300, seed=1), held_out(400, seed=0)
    assert sum(bool(promotions(there, home, seed=(5, number), looks=8)) for number in range(8)) <= 1


@pytest.mark.long
def test_a_month_of_looks_rarely_promotes_what_is_no_better_there() -> None:
    there, home = held_out(600, seed=1), held_out(800, seed=0)
    false = [bool(promotions(there, home, seed=(6, number), looks=20)) for number in range(16)]
    assert np.mean(false) <= 0.1
