"""Thresholds of labels: they never lower the F1 of the rows that they are set on, nor, on average, that of others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from graftline.answers.tasks import TASKS
from graftline.evaluation.given import labels_given, with_answers
from graftline.evaluation.metrics import Floats, Integers
from graftline.evaluation.thresholds import (
    LEAST_ROWS,
    _best_factor,
    thresholds_of_one_label,
    thresholds_of_several_labels,
)
from graftline.models.outputs import Outputs
from graftline.settings import Task

LABELS = ("a", "b", "c")
SHARES = np.array([0.75, 0.2, 0.05])


def one_label(rows: int, seed: int) -> tuple[Floats, Integers]:
    """Rows of three classes, of which one is rare, with the true probabilities of two normal features."""
    random = np.random.default_rng(seed)
    targets = random.choice(3, rows, p=SHARES)
    centres = np.array([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5]])
    seen = centres[targets] + random.normal(size=(rows, 2))
    likely = SHARES * np.exp(-((seen[:, None] - centres) ** 2).sum(2) / 2)
    return likely / likely.sum(1, keepdims=True), targets


def several_labels(rows: int, seed: int) -> tuple[Floats, Integers]:
    """Rows of three labels by themselves, as frequent, with their true probabilities."""
    random = np.random.default_rng(seed)
    there = random.random((rows, 3)) < SHARES
    seen = 1.5 * there + random.normal(size=(rows, 3))
    odds = SHARES / (1 - SHARES) * np.exp(1.5 * seen - 1.5**2 / 2)
    return odds / (1 + odds), there.astype(np.int64)


DRAWN = {"single_label": one_label, "multi_label": several_labels}
TUNED = {"single_label": thresholds_of_one_label, "multi_label": thresholds_of_several_labels}
TASKS_OF_LABELS: tuple[Task, ...] = ("single_label", "multi_label")


def macro_f1(task: Task, values: Floats, targets: Integers, thresholds: tuple[float, ...]) -> float:
    said = with_answers(values, TASKS[task].outputs.given(Outputs(task, LABELS, thresholds=thresholds), values))
    given = labels_given(said)
    there = np.eye(3, dtype=bool)[targets] if task == "single_label" else targets > 0
    return float(f1_score(there, given, average="macro", zero_division=0))


@pytest.mark.parametrize("task", TASKS_OF_LABELS)
@given(seed=st.integers(0, 10**6), rows=st.integers(2, 120))
def test_the_f1_of_the_rows_is_never_lower_than_with_the_usual_answers(task: Task, seed: int, rows: int) -> None:
    values, targets = DRAWN[task](rows, seed)
    found = TUNED[task](values, targets)
    assert macro_f1(task, values, targets, found) >= macro_f1(task, values, targets, ()) - 1e-9
    assert all(0 < threshold < 1 for threshold in found)


@pytest.mark.parametrize("task", TASKS_OF_LABELS)
def test_other_rows_are_answered_better_and_seldom_worse(task: Task) -> None:
    others, truth = DRAWN[task](20_000, 1000)
    usual = macro_f1(task, others, truth, ())
    gains = [macro_f1(task, others, truth, TUNED[task](*DRAWN[task](150, seed))) - usual for seed in range(40)]
    assert np.mean(gains) > 0.02
    assert np.mean(np.array(gains) < -0.01) <= 0.1


def test_of_two_labels_the_threshold_is_that_of_the_probability() -> None:
    values, targets = one_label(400, 0)
    values, targets = values[:, :2] / values[:, :2].sum(1, keepdims=True), np.minimum(targets, 1)
    found = thresholds_of_one_label(values, targets)
    assert sum(found) == pytest.approx(1)
    given = TASKS["single_label"].outputs.given(Outputs("single_label", LABELS[:2], thresholds=found), values)
    assert np.array_equal(given[:, 1], values[:, 1] > found[1])


@pytest.mark.parametrize("task", TASKS_OF_LABELS)
def test_a_label_of_too_few_rows_keeps_the_usual_threshold(task: Task) -> None:
    values, targets = DRAWN[task](200, 3)
    if task == "multi_label":
        targets[:, 2] = np.arange(200) < LEAST_ROWS - 1
        assert thresholds_of_several_labels(values, targets)[2] == 0.5
    else:
        few = np.where(targets == 2, 0, targets)
        few[: LEAST_ROWS - 1] = 2
        found = np.array(thresholds_of_one_label(values, few))
        assert found[2] >= found[:2].min()


def test_the_best_weight_is_that_of_a_brute_force_search() -> None:
    values, _ = one_label(60, 5)
    weights = np.array([1.0, 1.3, 0.8])
    factor, reached = _best_factor(values, weights, 2)

    def expected_f1(scale: float) -> float:
        given = np.eye(3)[(values * weights * [1, 1, scale]).argmax(1)]
        return float((2 * (given * values).sum(0) / (given.sum(0) + values.sum(0))).mean())

    assert expected_f1(factor) == pytest.approx(reached)
    assert reached == pytest.approx(max(expected_f1(scale) for scale in np.geomspace(0.01, 100, 5000)), abs=1e-3)
    assert reached >= max(expected_f1(scale) for scale in np.geomspace(0.01, 100, 5000)) - 1e-9
