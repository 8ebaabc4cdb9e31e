"""The held-out rows that say most about a model: newly right, newly wrong, most surely wrong."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.metrics import Floats
from graftline.evaluation.task_scores import TaskScores

GroupName = Literal["newly right", "newly wrong", "most surely wrong"]


@dataclass(frozen=True)
class Answer:
    """One model's answer for one row."""

    said: str
    probability: float | None


@dataclass(frozen=True)
class Example:
    """One row, and what was said of it."""

    row_id: str
    target: str
    ours: Answer
    theirs: Answer


@dataclass(frozen=True)
class ExampleGroup:
    """Rows that have something in common."""

    name: GroupName
    rows: int
    """Of which some are shown."""
    shown: Sequence[Example]


@dataclass(frozen=True)
class Examples:
    """The rows to show, and the other model."""

    against: str
    """The model beside this one, in words."""
    groups: Sequence[ExampleGroup]


@dataclass(frozen=True, eq=False)
class Rows:
    """The held-out rows, in one order."""

    ids: Sequence[str]
    written: Sequence[str]
    """Their targets, as a reader sees them."""
    targets: NDArray[Any]
    labels: Sequence[str]


def examples_of(
    task_scores: TaskScores, rows: Rows, candidate: Floats, other: Floats, *, against: str, most: int
) -> Examples:
    """At most so many rows of each group, the clearest first and rows alike by their names.

    Of numbers, nearer counts as right and farther as wrong. No row stands there twice.
    """
    ours, theirs = (task_scores.wrongness(predictions, rows.targets) for predictions in (candidate, other))
    change = theirs - ours
    wrong = ours > 0
    gained = change > 0 if task_scores.graded else ~wrong & (theirs > 0)
    lost = change < 0 if task_scores.graded else wrong & (theirs <= 0)
    taken: set[int] = set()
    groups = []
    ranks: list[tuple[GroupName, NDArray[np.bool_], Floats]] = [
        ("newly right", gained, change),
        ("newly wrong", lost, -change),
        ("most surely wrong", wrong, ours),
    ]
    for name, members, clearness in ranks:
        there = (row for row in np.flatnonzero(members).tolist() if row not in taken)
        chosen = heapq.nsmallest(most, there, key=lambda row: (-float(clearness[row]), rows.ids[row]))
        taken |= set(chosen)
        shown = [_example(task_scores, rows, candidate, other, row) for row in chosen]
        groups.append(ExampleGroup(name, int(members.sum()), shown))
    return Examples(against, groups)


def _example(task_scores: TaskScores, rows: Rows, candidate: Floats, other: Floats, row: int) -> Example:
    ours, theirs = (Answer(*task_scores.said(predictions[row], rows.labels)) for predictions in (candidate, other))
    return Example(rows.ids[row], rows.written[row], ours, theirs)
