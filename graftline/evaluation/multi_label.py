"""Scores of rows that have any number of labels, from one probability for each of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.calibration import temperature_of_several_labels
from graftline.evaluation.examination import Answers, Examination
from graftline.evaluation.given import THRESHOLD, labels_given
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
from graftline.evaluation.pictures import label_picture, reliability_picture
from graftline.evaluation.scoring import HIGHER, LOWER, Scoring
from graftline.evaluation.task_scores import Said, TaskScores
from graftline.evaluation.thresholds import thresholds_of_several_labels


def metrics_of_labels(probabilities: Floats, targets: Integers) -> dict[str, Metric]:
    """The scores of (rows, labels) probabilities against zeros and ones, as functions of how often each row counts.

    Log loss and calibration error look at each label of each row on its own. A label that no row has and none was
    given has an F1 of 0, as in scikit-learn with `zero_division=0`.
    Raises: GraftlineError for no rows, and for what is no probability.
    """
    require_probabilities(probabilities)
    predicted, true = labels_given(probabilities), targets > 0
    right, either = (predicted & true).astype(float), predicted.astype(float) + true
    of_truth = np.clip(np.where(true, probabilities, 1 - probabilities), EPSILON, 1.0)
    # Per row and bin: how many more labels there are than the probabilities say.
    surplus = np.zeros((len(targets), CALIBRATION_BINS))
    np.add.at(surplus, (np.arange(len(targets))[:, None], calibration_bins(probabilities)), true - probabilities)

    def macro_f1(counts: Floats) -> Floats:
        return np.asarray(f1_of(counts @ right, counts @ either).mean(1))

    def micro_f1(counts: Floats) -> Floats:
        return f1_of(counts @ right.sum(1), counts @ either.sum(1))

    def calibration_error(counts: Floats) -> Floats:
        return np.asarray(np.abs(counts @ surplus).sum(1) / (counts.sum(1) * targets.shape[1]))

    return {
        "macro_f1": macro_f1,
        "micro_f1": micro_f1,
        "subset_accuracy": mean_of((predicted == true).all(1).astype(float)),
        "log_loss": mean_of(-np.log(of_truth).mean(1)),
        "calibration_error": calibration_error,
    }


def per_label(probabilities: Floats, targets: Integers) -> list[dict[str, float]]:
    """Precision, recall, F1 and rows of each label; 0 where nothing was there to divide by."""
    predicted, true = labels_given(probabilities), targets > 0
    right, given, there = (predicted & true).sum(0), predicted.sum(0), true.sum(0)
    f1 = f1_of(right.astype(float), (given + there).astype(float))
    return [
        {"precision": float(r / max(1, g)), "recall": float(r / max(1, t)), "f1": float(f), "rows": int(t)}
        for r, g, t, f in zip(right, given, there, f1, strict=True)
    ]


def label_confusion(probabilities: Floats, targets: Integers) -> Integers:
    """How often each label was and was not there (rows), and was and was not given (columns): (2 labels, 2 labels).

    Labels are not confused with one another: of each there is one table of two by two along the diagonal.
    """
    predicted, true = labels_given(probabilities), targets > 0
    table = np.zeros((2 * targets.shape[1],) * 2, dtype=np.int64)
    for label, (given, there) in enumerate(zip(predicted.T, true.T, strict=True)):
        cells = np.bincount(2 * ~there + ~given, minlength=4)
        table[2 * label : 2 * label + 2, 2 * label : 2 * label + 2] = cells.reshape(2, 2)
    return table


def label_reliability(probabilities: Floats, targets: Integers) -> list[dict[str, float]]:
    """For each filled bin: mean probability, share of the labels that are there, and how many labels of rows."""
    return reliability_of(probabilities, targets)


def examine(answers: Answers) -> Examination:
    """Each label on its own: whether it was given, and how often it is there where it is as probable."""
    predictions, targets, labels = answers.predictions, answers.targets, answers.labels
    classes = per_label(predictions, targets)
    bins, before = (label_reliability(each, targets) for each in (predictions, answers.uncalibrated))
    names = [name for label in labels for name in (label, f"not {label}")]
    pictures = {
        "Labels on the held-out rows": label_picture(classes, labels),
        "Reliability of the probabilities": reliability_picture(
            bins, before, predicted="probability", seen="share that has the label"
        ),
    }
    return Examination(names, label_confusion(predictions, targets), bins, before, classes, pictures)


def share_right(probabilities: Floats, targets: Integers) -> Floats:
    """The share of the labels that are rightly given or not given: (rows,)."""
    return np.asarray((labels_given(probabilities) == (targets > 0)).mean(1))


def frequencies(train: Integers, rows: int, labels: Sequence[str]) -> tuple[str, Floats]:
    """Each label's among the training rows."""
    shares = train.mean(0)
    frequent = [label for label, share in zip(labels, shares, strict=True) if share >= THRESHOLD]
    return ", ".join(frequent) or "no label", np.tile(shares, (rows, 1))


def learn(words: Matrix, targets: Integers, labels: int, /, *, strength: float, balanced: bool) -> Answer:
    """Logistic regression, one for each label."""
    each = [logistic(words, targets[:, label], 2, strength=strength, balanced=balanced) for label in range(labels)]
    return lambda asked: np.stack([answer(asked)[:, 1] for answer in each], axis=1)


def moves(before: Floats, after: Floats, _spread: float) -> Floats:
    """The total variation distance of a label's probabilities, between 0 and 1; the mean over the labels."""
    return np.asarray(np.abs(after - before).mean(1))


def is_same(before: Floats, after: Floats, _spread: float) -> NDArray[np.bool_]:
    """Whether all labels are the same."""
    return np.asarray((labels_given(after) == labels_given(before)).all(1))


def rates(probabilities: Floats, targets: Integers) -> dict[str, Rate]:
    """Those of each label."""
    return rates_of_labels(share_right(probabilities, targets), labels_given(probabilities), targets > 0)


def wrongness(probabilities: Floats, targets: Integers) -> Floats:
    """How sure the surest wrong label is; where all are right, how sure the least sure one is, as a negative number."""
    given = labels_given(probabilities)
    sure, wrong = np.where(given, probabilities, 1 - probabilities), given != (targets > 0)
    return np.asarray(np.where(wrong.any(1), (sure * wrong).max(1), -sure.min(1)))


def said(probabilities: Floats, labels: Sequence[str]) -> Said:
    """All labels that are given, each with its probability."""
    each = zip(labels, probabilities, labels_given(probabilities), strict=True)
    given = [f"{label} ({one:.0%})" for label, one, is_given in each if is_given]
    return ", ".join(given) or "no label", None


SCORES = TaskScores(
    scoring=Scoring(
        primary="macro_f1",
        better={
            "macro_f1": HIGHER,
            "micro_f1": HIGHER,
            "subset_accuracy": HIGHER,
            "log_loss": LOWER,
            "calibration_error": LOWER,
        },
        floors=("macro_f1",),
        loss="log loss",
        baseline="the label frequencies",
        on_words="TF-IDF with logistic regression",
    ),
    metrics=metrics_of_labels,
    quality=share_right,
    temperature=temperature_of_several_labels,
    thresholds=thresholds_of_several_labels,
    examine=examine,
    without_model=frequencies,
    learn=learn,
    moves=moves,
    is_same=is_same,
    rates=rates,
    wrongness=wrongness,
    said=said,
)
