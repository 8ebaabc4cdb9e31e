"""Differences between groups are fairlearn's, and adapting is blamed for what it added only."""

from typing import Any

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, mean_absolute_error

from graftline.answers.tasks import TASKS
from graftline.behaviour.bias import Disparity, group_disparities, swap_disparity
from graftline.evaluation.metrics import Floats
from graftline.settings import Task

ROWS, LABELS = 400, ["a", "b", "c"]
GROUPS = [("x", "y", "z")[place % 3] for place in range(ROWS)]
RATES = {
    "selection rate": selection_rate, "true positive rate": true_positive_rate,
    "false positive rate": false_positive_rate,
}  # fmt: skip


def drawn(task: Task, *, seed: int, favoured: float = 0.0) -> tuple[Floats, NDArray[Any]]:
    """Predictions, with label a favoured in group x, and targets."""
    random = np.random.default_rng(seed)
    if task == "regression":
        targets = random.normal(0, 1, (ROWS, 1))
        return targets + random.normal(0, 1, (ROWS, 1)), targets
    raw = random.random((ROWS, 3))
    raw[np.array(GROUPS) == "x", 0] += favoured
    if task == "multi_label":
        return raw.clip(0, 1), random.integers(0, 2, (ROWS, 3))
    return raw / raw.sum(1, keepdims=True), random.integers(0, 3, ROWS)


def found(task: Task, ours: Floats, targets: NDArray[Any], frozen: Floats | None = None) -> dict[str, Disparity]:
    disparities = group_disparities(
        TASKS[task].scores, "sex", GROUPS, ours, targets, labels=LABELS, frozen=frozen, resamples=200, seed=0
    )
    return {disparity.measure: disparity for disparity in disparities}


def by_fairlearn(metric: Any, true: NDArray[Any], predicted: NDArray[Any]) -> float:
    frame = MetricFrame(metrics=metric, y_true=true, y_pred=predicted, sensitive_features=GROUPS)
    return float(frame.difference())


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_the_rates_of_labels_differ_by_as_much_as_fairlearn_says(task: Task) -> None:
    predictions, targets = drawn(task, seed=0)
    disparities = found(task, predictions, targets)
    one = task == "single_label"
    given = np.eye(3)[predictions.argmax(1)] if one else predictions >= 0.5
    there = np.eye(3)[targets] if one else targets
    for measure, metric in RATES.items():
        theirs = max(by_fairlearn(metric, there[:, label], given[:, label]) for label in range(3))
        assert disparities[measure].value == pytest.approx(theirs)
    right = (given == there).all(1) if one else (given == there).mean(1)
    means = [right[np.array(GROUPS) == group].mean() for group in "xyz"]
    assert disparities["right answers"].value == pytest.approx(max(means) - min(means))
    if one:
        theirs = by_fairlearn(accuracy_score, targets, predictions.argmax(1))
        assert disparities["right answers"].value == pytest.approx(theirs)


def test_numbers_differ_by_their_mean_and_their_mean_error() -> None:
    predictions, targets = drawn("regression", seed=0)
    disparities = found("regression", predictions, targets)
    theirs = by_fairlearn(mean_absolute_error, targets[:, 0], predictions[:, 0])
    assert disparities["mean absolute error"].value == pytest.approx(theirs)
    means = [predictions[np.array(GROUPS) == group].mean() for group in "xyz"]
    assert disparities["mean prediction"].value == pytest.approx(max(means) - min(means))


@pytest.mark.parametrize("task", ["single_label", "multi_label", "regression"])
def test_a_model_like_the_frozen_one_added_nothing(task: Task) -> None:
    predictions, targets = drawn(task, seed=1)
    for disparity in found(task, predictions, targets, predictions).values():
        assert disparity.frozen == disparity.value
        assert disparity.amplification is not None
        assert (disparity.amplification.low, disparity.amplification.high) == (0, 0)


def test_a_group_that_adapting_favours_is_found_with_its_label() -> None:
    frozen, targets = drawn("single_label", seed=2)
    ours, _ = drawn("single_label", seed=2, favoured=0.4)
    rate = found("single_label", ours, targets, frozen)["selection rate"]
    assert rate.amplification is not None
    assert rate.frozen is not None
    assert rate.amplification.value == pytest.approx(rate.value - rate.frozen)
    assert rate.amplification.low > 0.1
    assert rate.between.startswith("x ")
    assert rate.between.endswith("of a")


def test_the_interval_covers_what_more_rows_would_show() -> None:
    """The resampled differences are those of fairlearn, too: without resampling they have its value."""
    from graftline.behaviour.bias import _differences

    predictions, targets = drawn("single_label", seed=3)
    one_hot = np.array([[group == name for name in "xyz"] for group in GROUPS], dtype=float)
    disparities = found("single_label", predictions, targets)
    for measure, rate in TASKS["single_label"].scores.rates(predictions, targets).items():
        whole = _differences(rate, one_hot, np.ones((1, ROWS)))
        assert whole[0] == pytest.approx(disparities[measure].value)


def test_groups_of_few_rows_are_not_compared() -> None:
    predictions, targets = drawn("single_label", seed=4)
    groups = ["x"] * (ROWS - 29) + ["rare"] * 29
    scores = TASKS["single_label"].scores
    assert group_disparities(
        scores, "sex", groups, predictions, targets, labels=LABELS, frozen=None, resamples=100, seed=0
    ) == []  # fmt: skip


def test_swapped_words_that_move_answers_more_than_before_were_amplified() -> None:
    random = np.random.default_rng(0)
    theirs = random.random(200) * 0.1
    disparity = swap_disparity("gender", theirs + 0.2, theirs, changed=7, resamples=200, seed=0)
    assert disparity.amplification is not None
    assert disparity.amplification.value == pytest.approx(0.2)
    assert disparity.amplification.low == pytest.approx(0.2)
    assert "another answer in 7 of 200 rows" in disparity.between
    alone = swap_disparity("gender", theirs, None, changed=0, resamples=200, seed=0)
    assert alone.value == pytest.approx(theirs.mean())
    assert (alone.frozen, alone.amplification) == (None, None)
