import numpy as np
import pytest
from scipy.integrate import quad

from graftline.watching.evidence import (
    EXPONENTS,
    LOOKS_A_YEAR,
    Evidence,
    budget_share,
    capitals,
    needed,
    pays_for,
    weights,
)
from graftline.watching.looks import SIGNALS


def test_a_bet_pays_no_more_than_its_stake_on_average() -> None:
    for place in range(len(EXPONENTS)):
        assert quad(lambda p, place=place: pays_for(p)[place], 0, 1)[0] == pytest.approx(1, abs=1e-3)


def test_a_year_of_uniform_p_values_seldom_ends_with_an_alarm() -> None:
    p = np.random.default_rng(0).random((4_000, LOOKS_A_YEAR))
    assert np.mean(capitals(p).max(1) >= needed(1.0)) <= 0.05


def test_the_game_look_by_look_is_that_of_many_years_at_once() -> None:
    p = np.random.default_rng(1).random((3, 40))
    together = capitals(p)
    for row, wanted in zip(p, together, strict=True):
        evidence = Evidence()
        for look, one in enumerate(row):
            evidence = evidence.after(pays_for(float(one)))
            assert evidence.capital == pytest.approx(wanted[look])


@pytest.mark.parametrize("quiet", [0, 300])
def test_a_change_is_found_after_a_quiet_time_as_well(quiet: int) -> None:
    random = np.random.default_rng(2)
    p = np.r_[random.random(quiet), np.full(LOOKS_A_YEAR - quiet, 1e-3)][None]
    found = int(np.argmax(capitals(p)[0] >= needed(1 / 6)))
    assert quiet < found + 1 <= quiet + 5


def test_the_shares_of_the_budget_and_that_of_the_promise_are_together_all_of_it() -> None:
    shares = [*weights(SIGNALS).values(), budget_share(SIGNALS)]
    assert sum(shares) == pytest.approx(1)
    assert sum(1 / needed(one) for one in shares) == pytest.approx(0.05)


def test_capital_stays_a_number_however_long_a_change_lasts() -> None:
    evidence = Evidence()
    for _ in range(3_000):
        evidence = evidence.after(pays_for(1e-4))
    assert np.isfinite(evidence.capital)
