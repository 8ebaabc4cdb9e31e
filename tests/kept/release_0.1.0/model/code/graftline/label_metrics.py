"""Scores of rows that have any number of labels, from one probability for each of them."""

import numpy as np

from graftline.metrics import (
    CALIBRATION_BINS,
    EPSILON,
    Floats,
    Integers,
    Metric,
    calibration_bins,
    mean_of,
    require_probabilities,
)

# From this probability on a row has a label.
THRESHOLD = 0.5


def metrics_of_labels(probabilities: Floats, targets: Integers) -> dict[str, Metric]:
    """The scores of (rows, labels) probabilities against zeros and ones, as functions of how often each row counts.

    Log loss and calibration error look at each label of each row on its own. A label that no row has and none was
    given has an F1 of 0, as in scikit-learn with `zero_division=0`.
    Raises: GraftlineError for no rows, and for what is no probability.
    """
    require_probabilities(probabilities)
    predicted, true = probabilities >= THRESHOLD, targets > 0
    right, either = (predicted & true).astype(float), predicted.astype(float) + true
    of_truth = np.clip(np.where(true, probabilities, 1 - probabilities), EPSILON, 1.0)
    # Per row and bin: how many more labels there are than the probabilities say.
    surplus = np.zeros((len(targets), CALIBRATION_BINS))
    np.add.at(surplus, (np.arange(len(targets))[:, None], calibration_bins(probabilities)), true - probabilities)

    def macro_f1(counts: Floats) -> Floats:
        return np.asarray(_f1(counts @ right, counts @ either).mean(1))

    def micro_f1(counts: Floats) -> Floats:
        return _f1(counts @ right.sum(1), counts @ either.sum(1))

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
    predicted, true = probabilities >= THRESHOLD, targets > 0
    right, given, there = (predicted & true).sum(0), predicted.sum(0), true.sum(0)
    f1 = _f1(right.astype(float), (given + there).astype(float))
    return [
        {"precision": float(r / max(1, g)), "recall": float(r / max(1, t)), "f1": float(f), "rows": int(t)}
        for r, g, t, f in zip(right, given, there, f1, strict=True)
    ]


def label_confusion(probabilities: Floats, targets: Integers) -> Integers:
    """How often each label was and was not there (rows), and was and was not given (columns): (2 labels, 2 labels).

    Labels are not confused with one another: of each there is one table of two by two along the diagonal.
    """
    predicted, true = probabilities >= THRESHOLD, targets > 0
    table = np.zeros((2 * targets.shape[1],) * 2, dtype=np.int64)
    for label, (given, there) in enumerate(zip(predicted.T, true.T, strict=True)):
        cells = np.bincount(2 * ~there + ~given, minlength=4)
        table[2 * label : 2 * label + 2, 2 * label : 2 * label + 2] = cells.reshape(2, 2)
    return table


def label_reliability(probabilities: Floats, targets: Integers) -> list[dict[str, float]]:
    """For each filled bin: mean probability, share of the labels that are there, and how many labels of rows."""
    place = calibration_bins(probabilities)
    return [
        {
            "confidence": float(probabilities[place == number].mean()),
            "accuracy": float(targets[place == number].mean()),
            "rows": int((place == number).sum()),
        }
        for number in np.unique(place)
    ]


def _f1(right: Floats, either: Floats) -> Floats:
    return np.asarray(np.divide(2 * right, either, out=np.zeros_like(right), where=either > 0))
