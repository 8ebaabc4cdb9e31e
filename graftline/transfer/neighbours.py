"""What the nearest other rows say of a row: a look at the features that fits no line."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from graftline.evaluation.metrics import Floats

# So many neighbours answer together.
NEIGHBOURS = 10
# Rows that look for their neighbours at once: 2,048 beside 100,000 others take 800 MB.
ROWS_AT_ONCE = 2_048


def answers_of_neighbours(
    features: NDArray[np.floating],
    columns: NDArray[np.number],
    groups: NDArray[np.integer] | None = None,
    *,
    neighbours: int = NEIGHBOURS,
) -> Floats:
    """For each row the mean of its nearest other rows' columns, by the angle between features: (rows, columns).

    Leave-one-out: a row is none of its own neighbours, nor are those of its group, which may be its copies.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions = (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    own = np.arange(len(directions)) if groups is None else groups
    answers = np.empty((len(directions), columns.shape[1]))
    for start in range(0, len(directions), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        alike = directions[part] @ directions.T
        alike[own[part][:, None] == own[None]] = -np.inf
        count = min(neighbours, len(directions) - 1)
        nearest = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        there = np.isfinite(np.take_along_axis(alike, nearest, axis=1))[..., None]
        answers[part] = (columns[nearest] * there).sum(1) / np.maximum(there.sum(1), 1)
    return answers


def accuracy(answers: Floats, classes: NDArray[np.integer]) -> float:
    """The share of rows whose most frequent answer is their class; of equally frequent ones the first counts."""
    return float((answers.argmax(1) == classes).mean())


def mean_area(answers: Floats, labels: NDArray[np.number]) -> float:
    """The area under the ROC curve, mean over the labels that some rows have and some have not.

    Not the share of right answers: of a label that few rows have, its absence is right nearly always.
    """
    areas = []
    for answer, label in zip(answers.T, np.asarray(labels).T, strict=True):
        have = int(label.sum())
        if 0 < have < len(label):
            above = rankdata(answer)[label > 0].sum() - have * (have + 1) / 2
            areas.append(above / (have * (len(label) - have)))
    return float(np.mean(areas)) if areas else 0.5


def explained(answers: Floats, numbers: Floats) -> float:
    """R², of numbers (rows, 1)."""
    spread = ((numbers - numbers.mean(0)) ** 2).sum()
    return float(1 - ((answers - numbers) ** 2).sum() / spread) if spread > 0 else 0.0
