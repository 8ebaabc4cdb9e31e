"""Answers that moved, and answers that stayed the same, mean something else in each task."""

import numpy as np
import pytest

from graftline.answers.tasks import TASKS
from graftline.settings import Task


def test_answers_move_by_the_distance_of_their_probabilities() -> None:
    before, after = np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([[0.1, 0.9], [0.5, 0.5]])
    assert TASKS["single_label"].scores.moves(before, after, 1.0) == pytest.approx([0.8, 0.0])
    assert TASKS["multi_label"].scores.moves(before, after, 1.0) == pytest.approx([0.8, 0.0])


def test_numbers_move_by_shares_of_their_spread() -> None:
    assert TASKS["regression"].scores.moves(np.array([[3.0]]), np.array([[5.0]]), 4.0) == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("task", "before", "after", "same"),
    [("single_label", [0.6, 0.4], [0.51, 0.49], True), ("single_label", [0.6, 0.4], [0.4, 0.6], False),
     ("multi_label", [0.6, 0.4], [0.9, 0.1], True), ("multi_label", [0.6, 0.4], [0.6, 0.5], False),
     ("regression", [7.0], [7.9], True), ("regression", [7.0], [8.1], False)],
)  # fmt: skip
def test_what_is_the_same_answer(task: Task, before: list[float], after: list[float], same: bool) -> None:
    # A number may move by a tenth of the spread.
    assert TASKS[task].scores.is_same(np.array([before]), np.array([after]), 10.0).tolist() == [same]


@pytest.mark.parametrize("task", TASKS)
def test_every_score_has_a_direction_and_floors_are_under_scores_of_which_more_is_better(task: Task) -> None:
    scores, random = TASKS[task].scores, np.random.default_rng(0)
    predictions = random.random((9, 2)) / 2
    targets = {"single_label": np.arange(9) % 2, "multi_label": random.integers(0, 2, (9, 2))}
    assert list(scores.metrics(predictions, targets.get(task, predictions))) == list(scores.scoring.better)
    assert scores.scoring.primary in scores.scoring.floors
    assert {scores.scoring.better[name] for name in scores.scoring.floors} == {"higher"}
