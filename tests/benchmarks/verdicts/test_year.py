"""The simulated year is judged by the gate's own rule, and its page says what was counted."""

import numpy as np
import pytest

from benchmarks.verdicts import models
from benchmarks.verdicts.models import held_out
from benchmarks.verdicts.year import LOOKS, PROBES, Models, Spending, Year, year, years_of
from benchmarks.verdicts.year_page import page, picture
from graftline.evaluation.row_gains import row_gains
from graftline.verdict.life import Look, allowance
from graftline.verdict.policy import Policy

POLICY = Policy()


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "RESAMPLES", 200)


@pytest.mark.parametrize("sizes", [(), (1, 5, 20)], ids=["independent rows", "groups"])
def test_look_by_look_the_level_is_that_which_the_line_computes(sizes: tuple[int, ...]) -> None:
    rows = held_out(500, seed=0, sizes=sizes)
    groups = None if rows.groups is None else [f"group {number}" for number in rows.groups]
    simulated, spending = Models(rows, (0,)), Spending(rows)
    champion, past = simulated.next(0.0), list[Look]()
    for _ in range(6):
        candidate = simulated.next(0.0)
        each = (candidate > 0).astype(float) - (champion > 0)
        gains = row_gains([str(row) for row in range(500)], each, groups)
        expected = allowance(past, gains, chance=0.05, planned=365, most=0.05)
        found = spending.allowance(candidate, champion, POLICY)
        # Of groups' sums a record keeps 127 steps.
        assert found.level == pytest.approx(expected.level, rel=0.02 if sizes else 1e-6)
        spending.add(candidate, champion, found)
        past.append(Look(gains, found.level))


@pytest.mark.full
def test_a_month_of_looks_promotes_rarely_what_is_no_better_where_single_looks_do_so_often() -> None:
    """In most months "promote if larger" errs, in few the life's rule does."""
    rows = held_out(800, seed=0)
    false = {
        rule: np.mean([bool(year(rows, rule, POLICY, seed=(1, number), looks=20).promoted) for number in range(10)])
        for rule in ("over the life", "each by itself", "promote if larger")
    }
    assert false["over the life"] <= 0.1 <= false["each by itself"] + 0.05
    assert false["promote if larger"] >= 0.8


@pytest.mark.long
def test_a_large_improvement_is_found_after_many_useless_looks() -> None:
    rows = held_out(1600, seed=0)
    policy = Policy(wanted_difference=0.06)
    found = [year(rows, "over the life", policy, seed=(2, number), looks=30, probes=[30]) for number in range(5)]
    assert sum(one.found[30] for one in found) >= 3  # what stands in the way of the others is their calibration


def test_the_page_tells_the_shares_and_the_picture_is_one() -> None:
    found = dict.fromkeys(PROBES, True)
    seen = [years_of("over the life", 500, [Year([7, 9], found), Year([], found), Year([], found), Year([], found)])]
    assert "| 500 | independent | over the life | 4 | **25.0 %** (0.6 to 80.6) | 0.50 | 100 % |" in page(seen, POLICY)
    assert seen[0].false_by_look[5:7] == [0.0, 0.25]
    assert len(seen[0].false_by_look) == LOOKS
    assert len(picture(seen).axes) == 2
