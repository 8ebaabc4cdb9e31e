"""Two models beside one another on the same rows, whole and by slices."""

import json
import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score

from graftline.evaluation import multi_label, regression, single_label
from graftline.evaluation.comparison import Slice, aligned, compare, comparison_of, length_slices, value_slices
from graftline.evaluation.metrics import EPSILON, Floats


def probabilities(right: list[bool], targets: list[int]) -> Floats:
    answers = [target if hit else 1 - target for hit, target in zip(right, targets, strict=True)]
    return np.where(np.eye(2)[answers] == 1, 0.9, 0.1)


TARGETS = [0, 1] * 20
OURS = [number % 5 != 0 for number in range(40)]
THEIRS = [number % 4 != 0 for number in range(40)]
SLICES = [Slice("half", "first", np.arange(40) < 20), Slice("half", "second", np.arange(40) >= 20)]


def test_a_comparison_counts_the_rows_on_which_each_is_better_whole_and_by_slices() -> None:
    targets = np.array(TARGETS)
    ours, theirs = probabilities(OURS, TARGETS), probabilities(THEIRS, TARGETS)
    seen = compare(single_label.SCORES, ours, theirs, targets, against="it", slices=SLICES, resamples=100, seed=0)
    better = [mine and not other for mine, other in zip(OURS, THEIRS, strict=True)]
    worse = [other and not mine for mine, other in zip(OURS, THEIRS, strict=True)]
    assert (seen.gains.better, seen.gains.worse) == (sum(better), sum(worse))
    assert [part.gains.better for part in seen.slices] == [sum(better[:20]), sum(better[20:])]
    assert seen.differences["accuracy"].value == pytest.approx(seen.gains.mean)
    assert seen.scores["accuracy"].value == accuracy_score(targets, theirs.argmax(1))


def test_a_comparison_survives_being_written_down() -> None:
    targets = np.array(TARGETS)
    ours, theirs = probabilities(OURS, TARGETS), probabilities(THEIRS, TARGETS)
    seen = compare(single_label.SCORES, ours, theirs, targets, against="it", slices=SLICES, resamples=100, seed=0)
    assert comparison_of(json.loads(json.dumps(seen.as_json()))) == seen


def test_columns_are_put_in_the_wanted_order_and_an_unknown_label_gets_no_probability() -> None:
    probabilities = np.array([[0.2, 0.3, 0.5]])
    assert aligned(probabilities, ["a", "b", "c"], ["c", "new", "a"]).tolist() == [[0.5, 0.0, 0.2]]


def test_a_model_that_knows_no_wanted_label_is_scored_as_always_unsure_not_as_an_error() -> None:
    probabilities = aligned(np.array([[1.0]]), ["other"], ["a", "b"])
    log_loss = single_label.metrics_of(probabilities, np.array([1]))["log_loss"]
    assert log_loss(np.ones((1, 1)))[0] == pytest.approx(-math.log(EPSILON))


def test_a_rows_quality_under_several_labels_is_the_share_that_is_right() -> None:
    predictions, targets = np.array([[0.9, 0.2, 0.6], [0.1, 0.1, 0.1]]), np.array([[1, 0, 0], [1, 1, 1]])
    assert multi_label.SCORES.quality(predictions, targets).tolist() == pytest.approx([2 / 3, 0.0])


def test_the_mean_gain_of_numbers_is_the_difference_of_r2() -> None:
    random = np.random.default_rng(0)
    targets = random.normal(5, 2, (50, 1))
    ours, theirs = (targets + random.normal(0, spread, (50, 1)) for spread in (0.5, 1.0))
    quality = regression.SCORES.quality
    mean = float((quality(ours, targets) - quality(theirs, targets)).mean())
    assert mean == pytest.approx(r2_score(targets, ours) - r2_score(targets, theirs))


def test_quarters_of_length_are_those_of_the_training_rows_and_hold_every_row() -> None:
    found = length_slices([1, 10, 11, 20, 30, 99], range(1, 41), column="input length", unit="characters")
    assert {part.value: part.rows.nonzero()[0].tolist() for part in found} == {
        "up to 10 characters": [0, 1],
        "up to 20 characters": [2, 3],
        "up to 30 characters": [4],
        "above 30 characters": [5],
    }


def test_equal_lengths_are_one_slice() -> None:
    found = length_slices([7, 7], [7, 7, 7], column="input length", unit="s")
    assert [(part.value, part.rows.tolist()) for part in found] == [("up to 7 s", [True, True])]


def test_each_value_of_a_column_is_a_slice() -> None:
    found = value_slices("source", ["b", "a", "b"])
    assert [(part.value, part.rows.tolist()) for part in found] == [
        ("a", [False, True, False]), ("b", [True, False, True]),
    ]  # fmt: skip
