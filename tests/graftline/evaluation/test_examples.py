"""Rows to look at: those that came out otherwise than before, and the surest errors, always the same ones."""

import numpy as np

from graftline.answers.tasks import TASKS
from graftline.evaluation.examples import ExampleGroup, Rows, examples_of
from graftline.settings import Task

SINGLE = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6], [0.1, 0.9]])


def found(
    task: Task, rows: Rows, ours: list[list[float]], theirs: list[list[float]], most: int = 6
) -> dict[str, ExampleGroup]:
    shown = examples_of(TASKS[task].scores, rows, np.array(ours), np.array(theirs), against="it", most=most)
    return {group.name: group for group in shown.groups}


def names(group: ExampleGroup) -> list[str]:
    return [example.row_id for example in group.shown]


def of_labels(most: int = 6) -> dict[str, ExampleGroup]:
    """Rows d and a newly right, c newly wrong, e wrong before and now, b right before and now."""
    rows = Rows(["a", "b", "c", "d", "e"], ["x", "y", "y", "y", "x"], np.array([0, 1, 1, 1, 0]), ["x", "y"])
    theirs = [[0.2, 0.8], [0.2, 0.8], [0.4, 0.6], [0.9, 0.1], [0.1, 0.9]]
    return found("single_label", rows, SINGLE.tolist(), theirs, most)


def test_rows_that_came_out_otherwise_stand_in_their_group_the_clearest_first() -> None:
    groups = of_labels()
    assert names(groups["newly right"]) == ["a", "d"]
    assert names(groups["newly wrong"]) == ["c"]
    (example,) = groups["newly wrong"].shown
    assert (example.target, example.ours.said, example.ours.probability, example.theirs.said) == ("y", "x", 0.7, "y")


def test_no_row_is_shown_twice_but_each_is_counted() -> None:
    wrong = of_labels()["most surely wrong"]
    assert names(wrong) == ["e"]
    assert wrong.rows == 2


def test_only_so_many_are_shown() -> None:
    gained = of_labels(most=1)["newly right"]
    assert (names(gained), gained.rows) == (["a"], 2)


def test_rows_alike_come_by_their_names() -> None:
    rows = Rows(["z", "b", "k"], ["x"] * 3, np.zeros(3, dtype=np.int64), ["x", "y"])
    groups = found("single_label", rows, [[0.1, 0.9]] * 3, [[0.1, 0.9]] * 3, most=2)
    assert names(groups["most surely wrong"]) == ["b", "k"]


def test_several_labels_are_right_only_together() -> None:
    rows = Rows(["a", "b"], ["x", "x|y"], np.array([[1, 0], [1, 1]]), ["x", "y"])
    groups = found("multi_label", rows, [[0.9, 0.2], [0.9, 0.2]], [[0.9, 0.8], [0.9, 0.8]])
    assert names(groups["newly right"]) == ["a"]
    assert names(groups["newly wrong"]) == ["b"]
    assert groups["newly wrong"].shown[0].ours.said == "x (90%)"


def test_numbers_are_nearer_or_farther() -> None:
    rows = Rows(["a", "b", "c"], ["1", "2", "3"], np.array([[1.0], [2.0], [3.0]]), [])
    groups = found("regression", rows, [[1.1], [4.0], [3.0]], [[2.0], [2.5], [3.0]])
    assert names(groups["newly right"]) == ["a"]
    assert names(groups["newly wrong"]) == ["b"]
    assert groups["most surely wrong"].rows == 2
