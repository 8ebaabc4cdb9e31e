"""Scores of one label per row."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.metrics import (
    CALIBRATION_BINS,
    EPSILON,
    Floats,
    Integers,
    Metric,
    calibration_bins,
    mean_of,
    require_probabilities,
)


def metrics_of(probabilities: Floats, targets: Integers) -> dict[str, Metric]:
    """The metrics of (rows, classes) probabilities, as functions of how often each row counts.

    Raises: GraftlineError for no rows, and for what is no probability.
    """
    require_probabilities(probabilities)
    rows, classes = probabilities.shape
    predicted = probabilities.argmax(1)
    hit = (predicted == targets).astype(float)
    loss = -np.log(np.clip(probabilities[np.arange(rows), targets], EPSILON, 1.0))
    cells = _one_hot(targets * classes + predicted, classes * classes)
    confidence = probabilities.max(1)
    bins = _one_hot(calibration_bins(confidence), CALIBRATION_BINS)

    def macro_f1(counts: Floats) -> Floats:
        table = (counts @ cells).reshape(-1, classes, classes)
        return np.asarray(_f1(table).mean(1))

    def calibration_error(counts: Floats) -> Floats:
        # Per bin |hits - confidence| summed over its rows; the mean over all rows is the expected error.
        return np.asarray(np.abs(counts @ (bins * (hit - confidence)[:, None])).sum(1) / counts.sum(1))

    return {
        "accuracy": mean_of(hit),
        "macro_f1": macro_f1,
        "log_loss": mean_of(loss),
        "calibration_error": calibration_error,
    }


def confusion(probabilities: Floats, targets: Integers) -> Integers:
    """How often each label (row) was predicted as each label (column): (classes, classes)."""
    classes = probabilities.shape[1]
    cells = targets * classes + probabilities.argmax(1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def per_class(table: Integers) -> list[dict[str, float]]:
    """Precision, recall, F1 and rows of each class, from a confusion table; 0 where nothing was there to divide by."""
    right = np.diag(table).astype(float)
    precision = right / np.maximum(table.sum(0), 1)
    recall = right / np.maximum(table.sum(1), 1)
    return [
        {"precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
        for p, r, f, n in zip(precision, recall, _f1(table[None].astype(float))[0], table.sum(1), strict=True)
    ]


def reliability(probabilities: Floats, targets: Integers) -> list[dict[str, float]]:
    """For each filled confidence bin: mean confidence, share of right predictions, rows."""
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == targets
    place = calibration_bins(confidence)
    return [
        {
            "confidence": float(confidence[place == number].mean()),
            "accuracy": float(hit[place == number].mean()),
            "rows": int((place == number).sum()),
        }
        for number in np.unique(place)
    ]


def aligned(probabilities: Floats, labels: list[str], wanted: list[str]) -> Floats:
    """Columns in the order of `wanted`; a label that the model does not know has probability 0."""
    known = {label: place for place, label in enumerate(labels)}
    columns = [probabilities[:, known[label]] if label in known else np.zeros(len(probabilities)) for label in wanted]
    return np.stack(columns, axis=1)


def _one_hot(values: NDArray[Any], size: int) -> Floats:
    return np.asarray(np.eye(size)[values])


def _f1(table: Floats) -> Floats:
    """F1 of each class, from (resamples, classes, classes) confusion tables: (resamples, classes)."""
    right = np.diagonal(table, axis1=1, axis2=2)
    total = table.sum(1) + table.sum(2)
    return np.asarray(np.divide(2 * right, total, out=np.zeros_like(right), where=total > 0))
