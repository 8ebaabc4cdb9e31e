"""Scores of one label per row."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.calibration import temperature_of_one_label
from graftline.evaluation.examination import Answers, Examination
from graftline.evaluation.given import label_given
from graftline.evaluation.group_rates import Rate, rates_of_labels
from graftline.evaluation.linear_models import Answer, Matrix, logistic
from graftline.evaluation.metrics import (
    CALIBRATION_BINS,
    EPSILON,
    Floats,
    Integers,
    Metric,
    calibration_bins,
    f1_of,
    mean_of,
    reliability_of,
    require_probabilities,
)
from graftline.evaluation.pictures import confusion_picture, reliability_picture
from graftline.evaluation.scoring import HIGHER, LOWER, Scoring
from graftline.evaluation.task_scores import Said, TaskScores
from graftline.evaluation.thresholds import thresholds_of_one_label

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def metrics_of(probabilities: Floats, targets: Integers) -> dict[str, Metric]:
    """The metrics of (rows, classes) probabilities, as functions of how often each row counts.

    Raises: GraftlineError for no rows, and for what is no probability.
    """
    require_probabilities(probabilities)
    rows, classes = probabilities.shape
    predicted, likeliest = label_given(probabilities), probabilities.argmax(1)
    right_row, sure_row = ((places == targets).astype(float) for places in (predicted, likeliest))
    loss = -np.log(np.clip(probabilities[np.arange(rows), targets], EPSILON, 1.0))
    of_target, of_answer = _one_hot(targets, classes), _one_hot(predicted, classes)
    right, either = of_target.multiply(right_row[:, None]).tocsr(), of_target + of_answer
    confidence = probabilities.max(1)
    # Per bin the hits minus the confidence of its rows.
    missed = np.eye(CALIBRATION_BINS)[calibration_bins(confidence)]
    missed *= (sure_row - confidence)[:, None]

    def macro_f1(counts: Floats) -> Floats:
        return np.asarray(f1_of(counts @ right, counts @ either).mean(1))

    def calibration_error(counts: Floats) -> Floats:
        # The mean of all rows is the expected error.
        return np.asarray(np.abs(counts @ missed).sum(1) / counts.sum(1))

    return {
        "accuracy": mean_of(right_row),
        "macro_f1": macro_f1,
        "log_loss": mean_of(loss),
        "calibration_error": calibration_error,
    }


def confusion(probabilities: Floats, targets: Integers) -> Integers:
    """How often each label (row) was answered by each label (column): (classes, classes)."""
    classes = probabilities.shape[1]
    cells = targets * classes + label_given(probabilities)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def per_class(table: Integers) -> list[dict[str, float]]:
    """Precision, recall, F1 and rows of each class, from a confusion table; 0 where nothing was there to divide by."""
    right = np.diag(table).astype(float)
    precision = right / np.maximum(table.sum(0), 1)
    recall = right / np.maximum(table.sum(1), 1)
    return [
        {"precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
        for p, r, f, n in zip(precision, recall, f1_of(right, table.sum(0) + table.sum(1)), table.sum(1), strict=True)
    ]


def reliability(probabilities: Floats, targets: Integers) -> list[dict[str, float]]:
    """For each filled confidence bin: mean confidence, share of right predictions, rows."""
    return reliability_of(probabilities.max(1), probabilities.argmax(1) == targets)


def examine(answers: Answers) -> Examination:
    """The confusion of the classes in the answers, and how often the likeliest one is right."""
    table = confusion(answers.predictions, answers.targets)
    bins, before = (reliability(each, answers.targets) for each in (answers.predictions, answers.uncalibrated))
    pictures = {
        "Confusion on the held-out rows": confusion_picture(table, answers.labels),
        "Reliability of the probabilities": reliability_picture(bins, before),
    }
    return Examination(answers.labels, table, bins, before, per_class(table), pictures)


def hit(probabilities: Floats, targets: Integers) -> Floats:
    """Whether each row's label is right: (rows,)."""
    return np.asarray(label_given(probabilities) == targets, dtype=float)


def classes_of(targets: Integers) -> Integers:
    """The classes as strata: every resample has them as often as the rows have."""
    return targets.astype(np.int64)


def frequencies(train: Integers, rows: int, labels: Sequence[str]) -> tuple[str, Floats]:
    """Those of the training rows' labels."""
    shares = np.bincount(train, minlength=len(labels)) / len(train)
    return labels[int(shares.argmax())], np.tile(shares, (rows, 1))


def learn(words: Matrix, targets: Integers, labels: int, /, *, strength: float, balanced: bool) -> Answer:
    """Logistic regression."""
    return logistic(words, targets, labels, strength=strength, balanced=balanced)


def moves(before: Floats, after: Floats, _spread: float) -> Floats:
    """The total variation distance of the probabilities, between 0 and 1."""
    return np.asarray(np.abs(after - before).sum(1) / 2)


def is_same(before: Floats, after: Floats, _spread: float) -> NDArray[np.bool_]:
    """Whether the label is the same."""
    return np.asarray(label_given(after) == label_given(before))


def rates(probabilities: Floats, targets: Integers) -> dict[str, Rate]:
    """Those of each class."""
    places = np.arange(probabilities.shape[1])
    given, there = label_given(probabilities)[:, None] == places, targets[:, None] == places
    return rates_of_labels(hit(probabilities, targets), given, there)


def wrongness(probabilities: Floats, targets: Integers) -> Floats:
    """The probability of the label that was given, as a negative number where that is right."""
    given = label_given(probabilities)
    of_given = np.asarray(probabilities)[np.arange(len(given)), given]
    return np.asarray(of_given * np.where(given == targets, -1, 1))


def said(probabilities: Floats, labels: Sequence[str]) -> Said:
    """The label that was given."""
    place = int(label_given(probabilities))
    return labels[place], float(probabilities[place])


def _one_hot(values: NDArray[Any], size: int) -> "csr_matrix":
    """A one in each row. Without its zeros: for a thousand classes these would not fit into memory."""
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(len(values)), (np.arange(len(values)), values)), shape=(len(values), size))


SCORES = TaskScores(
    scoring=Scoring(
        primary="accuracy",
        better={"accuracy": HIGHER, "macro_f1": HIGHER, "log_loss": LOWER, "calibration_error": LOWER},
        floors=("accuracy", "macro_f1"),
        loss="log loss",
        baseline="the most frequent label",
        on_words="TF-IDF with logistic regression",
    ),
    metrics=metrics_of,
    quality=hit,
    temperature=temperature_of_one_label,
    thresholds=thresholds_of_one_label,
    examine=examine,
    without_model=frequencies,
    learn=learn,
    moves=moves,
    is_same=is_same,
    rates=rates,
    wrongness=wrongness,
    said=said,
    strata=classes_of,
    hits=True,
)
