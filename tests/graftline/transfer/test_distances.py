"""Distances against scipy, scikit-learn and a loop, and how often two parts of one set are taken for different."""

from typing import Any

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import binom
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression

from graftline.transfer.distances import ALARMS, LEAST_ROWS, MEASURES, Distances, distances, some_rows
from graftline.transfer.frechet import DIRECTIONS, frechet_distance
from graftline.transfer.pairs import Pair, as_json, pairs_of
from graftline.transfer.two_samples import classifier_error


def drawn(rows: int, moved: float, seed: int, width: int = 6) -> Any:
    return (np.random.default_rng(seed).standard_normal((rows, width)) + moved).astype(np.float32)


def members(chosen: int, rows: int) -> Any:
    found = np.zeros((rows, 1), dtype=np.float32)
    found[:chosen] = 1
    return found


def test_the_frechet_distance_is_that_of_the_matrix_root() -> None:
    one, other = drawn(60, 0.3, 0), 1.5 * drawn(80, 0, 1)
    found = frechet_distance(np.concatenate([one, other]))(members(60, 140))[0]
    first, second = (ledoit_wolf(rows.astype(float))[0] for rows in (one, other))
    apart = one.mean(0) - other.mean(0)
    root = np.asarray(sqrtm(first @ second)).real
    assert found == pytest.approx(apart @ apart + np.trace(first + second - 2 * root), rel=1e-4)


def test_of_wide_features_the_widest_directions_count() -> None:
    wide = drawn(100, 0, 0, width=DIRECTIONS + 20) * np.linspace(10, 0.01, DIRECTIONS + 20, dtype=np.float32)
    one = frechet_distance(wide)(members(50, 100))[0]
    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((wide.shape[1], wide.shape[1])))[0]
    other = frechet_distance((wide @ rotation).astype(np.float32))(members(50, 100))[0]
    assert one == pytest.approx(other, rel=1e-3)


def test_the_classifier_errs_about_as_often_as_a_fitted_logistic_regression() -> None:
    rows = np.concatenate([drawn(300, 0.4, 0), drawn(300, 0, 1)])
    found = classifier_error(rows, np.random.default_rng(0))(members(300, 600))[0]
    labels, fold = np.arange(600) < 300, np.arange(600) % 2 == 0
    fitted = LogisticRegression().fit(rows[fold], labels[fold])
    assert found == pytest.approx(1 - fitted.score(rows[~fold], labels[~fold]), abs=0.04)


def test_both_sets_count_the_same_however_many_rows_they_have() -> None:
    rows = np.concatenate([drawn(60, 0, 0), drawn(600, 0, 1)])
    assert classifier_error(rows, np.random.default_rng(0))(members(60, 660))[0] == pytest.approx(0.5, abs=0.12)


def test_sets_of_one_domain_are_taken_for_different_five_times_in_a_hundred() -> None:
    """The same splits in full form, and 200 of them, on real features: benchmarks/scores/distance.py."""
    rows, splits = drawn(80, 0, 5, width=4), 120
    alarms = dict.fromkeys(MEASURES, 0)
    for split in range(splits):
        order = np.random.default_rng(split).permutation(80)
        found = distances(rows[order[:40]], rows[order[40:]], seed=split, divisions=39)
        for name, one in found.of.items():
            alarms[name] += one.is_alarm
    low, high = binom.interval(0.998, splits, ALARMS)
    assert all(low <= count <= high for count in alarms.values()), alarms


def test_sets_that_lie_apart_are_told_apart_by_all_measures_and_the_band_holds_what_is_usual() -> None:
    found = distances(drawn(150, 0, 0), drawn(100, 0.8, 1), seed=0)
    assert found.differ
    assert all(one.is_alarm and one.value > one.usual_high for one in found.of.values())
    assert 0.6 < found.told_apart <= 1
    assert found.a_low < found.a_distance.value < found.a_high
    assert (found.source_rows, found.target_rows) == (150, 100)


def test_a_set_beside_itself_is_not_told_apart() -> None:
    rows = drawn(100, 0, 0)
    found = distances(rows[:50], rows[50:], seed=0)
    assert not found.differ
    assert found.a_low < 0.5


def test_rows_of_few_groups_are_no_more_evidence_than_their_groups() -> None:
    """Speakers, of whom each has said much: the rows differ as speakers do, and each set has its own."""
    alarms = {True: 0, False: 0}
    for seed in range(20):
        random = np.random.default_rng(seed)
        speakers = np.repeat(np.arange(20), 10)
        rows = (random.standard_normal((20, 5))[speakers] + 0.3 * random.standard_normal((200, 5))).astype(np.float32)
        names = [str(one) for one in speakers]
        for grouped in alarms:
            groups = (names[:100], names[100:]) if grouped else None
            alarms[grouped] += distances(rows[:100], rows[100:], seed=0, groups=groups, divisions=99).mmd.is_alarm
    assert alarms[False] > 15
    assert alarms[True] < 5


def test_equal_inputs_give_equal_numbers() -> None:
    rows = drawn(90, 0, 0)
    assert distances(rows[:40], rows[40:], seed=3) == distances(rows[:40], rows[40:], seed=3)


def test_rows_that_are_all_alike_are_not_told_apart() -> None:
    alike = np.ones((LEAST_ROWS, 3), dtype=np.float32)
    assert not distances(alike, alike, seed=0, divisions=39).differ


def test_of_many_rows_some_are_taken_and_of_few_all() -> None:
    random = np.random.default_rng(0)
    assert some_rows(5, random).tolist() == [0, 1, 2, 3, 4]
    chosen = some_rows(100, random, 10)
    assert len(set(chosen.tolist())) == 10


@pytest.fixture(scope="module")
def far() -> Distances:
    return distances(drawn(60, 0, 0), drawn(60, 1.5, 1), seed=0, divisions=99)


def test_the_advice_says_what_was_seen_and_what_to_do(far: Distances) -> None:
    pair = Pair("slice", "the rows without shop=a", "shop=a", far)
    assert pair.advice.startswith("shop=a: differs from the rows without shop=a (a linear classifier assigns ")
    assert pair.advice.endswith("read its own scores in the report before you rely on the overall ones")
    near = distances(drawn(60, 0, 0)[:30], drawn(60, 0, 0)[30:], seed=0, divisions=99)
    assert "not told apart from" in Pair("served rows", "held-out rows", "served", near).advice


def test_pairs_are_what_they_were_once_they_were_written(far: Distances) -> None:
    pairs = (Pair("source task", "evaluation.probe", "the rows to learn from", far),)
    assert pairs_of(as_json(pairs)) == pairs
