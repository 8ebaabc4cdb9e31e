"""The level of each look in the life of held-out rows: together they err as rarely as was promised."""

import numpy as np
import pytest
from scipy.stats import norm

from graftline.evaluation.metrics import Floats
from graftline.evaluation.row_gains import RowGains, correlations, row_gains
from graftline.verdict.life import Life, Look, allowance, spent_share

ROWS = 400


def gains(values: Floats, first: int = 0) -> RowGains:
    return row_gains([f"row {first + number}" for number in range(len(values))], values)


def candidates(count: int, seed: int = 0) -> list[Floats]:
    """Gains of models beside one champion, none of which is better."""
    random = np.random.default_rng(seed)
    champion = random.random(ROWS) < 0.5
    return [(random.random(ROWS) < 0.5).astype(float) - champion for _ in range(count)]


def levels(each: list[Floats]) -> list[float]:
    past: list[Look] = []
    for values in each:
        found = allowance(past, gains(values), chance=0.05, planned=365, most=0.05)
        past.append(Look(gains(values), found.level))
    return [look.level for look in past]


def test_more_looks_leave_less_and_never_more_than_one_look_may() -> None:
    found = levels(candidates(8))
    assert found == sorted(found, reverse=True)
    assert 0.005 < found[0] <= 0.05
    alone = allowance([], gains(candidates(1)[0]), chance=0.2, planned=1, most=0.05)
    assert (alone.level, alone.spent, alone.looks) == (0.05, 0, 0)


def test_a_candidate_like_the_one_before_costs_little() -> None:
    first, second = candidates(2)
    near = first.copy()
    near[:3] = 1 - near[:3]
    assert levels([first, near])[1] > 1.2 * levels([first, second])[1]
    assert levels([first, first])[1] >= levels([first, near])[1]


def test_rows_that_no_look_has_seen_bring_their_evidence_whole() -> None:
    values = candidates(6)
    past = [Look(gains(one), 0.005) for one in values[:5]]
    fresh, half = gains(values[5], first=ROWS), gains(values[5], first=ROWS // 2)
    old = allowance(past, gains(values[5]), chance=0.05, planned=365, most=0.05)
    some = allowance(past, half, chance=0.05, planned=365, most=0.05)
    new = allowance(past, fresh, chance=0.05, planned=365, most=0.05)
    assert (old.looks, new.looks, new.spent) == (5, 0, 0)
    assert some.looks == pytest.approx(2.5, abs=0.3)
    assert old.level < some.level < new.level
    assert new.level == pytest.approx(levels([values[5]])[0], rel=0.03)


def test_looks_at_other_rows_leave_all_to_these_however_many_they_were() -> None:
    past: list[Look] = []
    for number, values in enumerate(candidates(60)):
        fresh = gains(values, first=number * ROWS)
        past.append(Look(fresh, allowance(past, fresh, chance=0.05, planned=365, most=0.05).level))
    assert {round(look.level, 6) for look in past} == {round(past[0].level, 6)}


@pytest.mark.parametrize("planned", ["of each look", "doubled"])
def test_a_plan_that_is_changed_between_looks_gives_nothing_away_twice(planned: str) -> None:
    past: list[Look] = []
    life = Life()
    wrong = 0.0
    for number, values in enumerate(candidates(80)):
        looks = number + 1 if planned == "of each look" else 40 * 2 ** (number // 40)
        now = gains(values)
        found = allowance(past, now, chance=0.05, planned=looks, most=0.05)
        alike = correlations([*(look.gains for look in past), now])[-1, :-1]
        wrong += (1 - wrong) * life.add(alike, found.level / 2)
        past.append(Look(now, found.level))
    assert 0.04 < wrong <= 0.0501


def test_a_smaller_chance_than_was_spent_leaves_next_to_nothing() -> None:
    *before, last = candidates(6)
    past = [Look(gains(values), 0.05) for values in before]
    assert 0 < allowance(past, gains(last), chance=0.01, planned=365, most=0.05).level < 1e-5


def test_what_is_spent_grows_and_never_is_more_than_all() -> None:
    shares = [spent_share(looks, 365) for looks in (0, 1, 10, 365, 100_000)]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] <= 1


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_a_life_of_looks_without_improvement_errs_as_rarely_as_was_promised(correlation: float) -> None:
    life, looks, room = Life(), 40, 0.05 / 40
    bounds = []
    for look in range(looks):
        alike = np.full(look, correlation)
        bounds.append(norm.isf(life.level(alike, room)))
        life.add(alike, float(norm.sf(bounds[-1])))
    random = np.random.default_rng(1)
    shared, own = random.standard_normal((100_000, 1)), random.standard_normal((100_000, looks))
    values = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    assert (values > bounds).any(axis=1).mean() == pytest.approx(0.05, abs=0.005)
    # Each is allowed more than a fortieth where they are alike.
    assert norm.sf(bounds[-1]) > (0.9 + 4 * (correlation > 0.8)) * room


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("share", [0.5, 0.05], ids=["many rows differ", "few rows differ"])
def test_more_looks_than_rows_err_as_rarely_as_was_promised(share: float) -> None:
    """Each look is then a sum of earlier ones, or the same: nothing is left that is its own."""
    rows, looks = 60, 150
    random = np.random.default_rng(0)
    champion = random.random(rows) < share
    units = (random.random((looks, rows)) < share).astype(float) - champion
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    life, bounds = Life(), list[float]()
    for look in range(looks):
        alike = units[:look] @ units[look]
        bounds.append(norm.isf(life.level(alike, 0.05 / looks)))
        life.add(alike, float(norm.sf(bounds[-1])))
    values = random.standard_normal((40_000, rows)) @ units.T
    assert 0.03 < (values > bounds).any(axis=1).mean() < 0.055
