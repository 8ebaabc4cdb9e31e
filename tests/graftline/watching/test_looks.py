from typing import Any

import numpy as np
import pytest

from benchmarks.watching.years import Drawn
from graftline.transfer.permutations import Permuted
from graftline.transfer.two_samples import median_distance
from graftline.watching.looks import MOST_ROWS, SIGNALS, Rows, Watched, after_look, drift_of, joined, sample

RANDOM = np.random.default_rng(0)


def rows(count: int, moved: float = 0.0) -> Rows:
    return Drawn(moved=moved).rows(count, 0, np.random.default_rng(count))


def test_every_signal_of_drift_finds_a_large_one() -> None:
    held_out = rows(400)
    assert held_out.features is not None
    tested = drift_of(rows(100, 1.5), held_out, median_distance(held_out.features), RANDOM, most_draws=999)
    assert set(tested) == set(SIGNALS) - {"score"}
    assert {name for name, one in tested.items() if one.p < 0.01} >= {"features_distance", "features_classifier"}


def test_what_rows_do_not_have_is_not_tested() -> None:
    bare = Rows(np.zeros((30, 0)), np.zeros((30, 0), dtype=bool), np.full(30, np.nan))
    assert drift_of(bare, bare, 1.0, RANDOM) == {}
    mixed = joined([rows(30), Rows(rows(30).facts, rows(30).answers, rows(30).confidence)])
    assert mixed.features is None


def test_of_many_rows_some_are_drawn_and_of_few_all_are_taken() -> None:
    assert len(sample(rows(1_000), RANDOM)) == MOST_ROWS
    assert len(sample(rows(30), RANDOM)) == 30


def test_an_alarm_stands_until_the_champion_or_the_year_goes() -> None:
    weights = dict.fromkeys(SIGNALS, 1 / len(SIGNALS))
    watched: dict[Any, Watched] = {}
    drift, calm = {"facts": Permuted(9.0, 1e-4, 9_999)}, {"facts": Permuted(0.1, 0.9, 12)}
    for look in range(1, 6):
        watched = after_look(watched, drift, None, look, weights)  # type: ignore[arg-type]
    raised = watched["facts"].alarm
    assert raised is not None
    for look in range(6, 60):
        watched = after_look(watched, calm, None, look, weights)  # type: ignore[arg-type]
    assert watched["facts"].alarm == raised


def test_a_look_without_a_signal_leaves_its_evidence_as_it_was() -> None:
    weights = dict.fromkeys(SIGNALS, 1 / len(SIGNALS))
    after = after_look({}, {}, None, 1, weights)
    assert after == dict.fromkeys(SIGNALS, Watched())
    assert after["score"].evidence.capital == pytest.approx(1)
