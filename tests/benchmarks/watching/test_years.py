import numpy as np
import pytest

from benchmarks.watching.page import Results, page, picture
from benchmarks.watching.studies import FalseAlarms, Found, by_law, drawn_years, fallen_scores, lucky_promises
from benchmarks.watching.years import OURS, SPENDING, SPLIT, Drawn, Year, found_after, year


def test_a_year_of_looks_raises_a_false_alarm_in_at_most_one_of_twenty() -> None:
    """By the law of the p-values, of which many years can be drawn; what rows show stands in docs/measurements."""
    assert len(by_law(2_000)[0].first) / 2_000 <= 0.05


def test_looks_at_rows_that_do_not_change_raise_no_alarm() -> None:
    (seen,) = drawn_years([OURS], 4, looks=60)
    assert seen.first == []


def test_the_p_values_of_a_year_follow_that_law() -> None:
    law = Drawn()
    held_out = law.rows(120, 0, np.random.default_rng(1))
    seen = year(held_out, lambda day, random: law.rows(30, day, random), 4.0, seed=(3,), looks=100, rules=[OURS])
    for signal in seen.p[0]:
        p = np.array([look[signal] for look in seen.p])
        assert np.mean(p) == pytest.approx(0.5, abs=0.12)
        # From look to look there is no relation, though all share their held-out rows.
        assert abs(np.corrcoef(p[1:], p[:-1])[0, 1]) < 0.3


def test_a_drift_is_found_within_days_and_the_larger_the_sooner() -> None:
    held_out = Drawn().rows(200, 0, np.random.default_rng(1))

    def found_on(moved: float) -> int:
        law = Drawn(moved=moved, begins=10)
        seen = year(held_out, lambda day, random: law.rows(50, day, random), 4.0, seed=(1,), looks=60, rules=[OURS],
                    ends_with_alarms=True)  # fmt: skip
        return seen.alarms.get(OURS, 60)

    large, small = found_on(1.0), found_on(0.2)
    assert 10 <= large <= 14
    assert large < small


def test_a_score_that_fell_is_found_and_one_that_is_as_promised_seldom() -> None:
    assert fallen_scores(50, 0.1, 20)[0].alarmed == 1
    assert fallen_scores(50, 0.0, 60)[0].alarmed <= 0.05


def test_held_out_rows_that_were_lucky_raise_no_alarm_by_themselves() -> None:
    (luck,) = lucky_promises(100, 60)
    assert luck.by_bound <= 0.05 < luck.by_mean


def test_an_alarm_before_the_drift_does_not_count_as_found() -> None:
    seen = [Year(alarms={OURS: look}) for look in (2, 12, 14)]
    delay, found = found_after(seen, OURS, 10, 40)
    assert delay == 5
    assert found == pytest.approx(2 / 3)


def test_the_page_tells_each_figure() -> None:
    results = Results(
        false_alarms=[FalseAlarms("drawn", OURS, 100, (3,))],
        found=[
            Found(kind, share, rule, 2.0, 1.0, 5)
            for kind in ("product reviews", "editorials", "tweets")
            for share in (0.05, 0.1, 0.2, 0.5, 1.0)
            for rule in (OURS, SPENDING, SPLIT)
        ],
    )
    told = page(results)
    assert "**1.0 %**" in told
    assert "| tweets | 50 % | 2 | 2 | 2 |" in told
    assert picture(results).get_axes()
