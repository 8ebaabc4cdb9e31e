"""What held-out rows show beside the scores, for each task: tables, pictures, and what needs no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftline.label_metrics import THRESHOLD, label_confusion, label_reliability, per_label
from graftline.metrics import Floats, Integers, confusion, per_class, reliability
from graftline.number_metrics import in_quarters, number_reliability
from graftline.pictures import confusion_picture, label_picture, number_picture, reliability_picture
from graftline.settings import Task

QUARTERS = ("1 lowest", "2", "3", "4 highest")


@dataclass(frozen=True)
class Examination:
    """Tables and pictures of one model's predictions."""

    confusion_names: Sequence[str]
    confusion: Integers
    """How often each name (row) was predicted as each name (column)."""
    reliability: Sequence[Mapping[str, float]]
    """For each bin of predictions their mean (`confidence`), that of the truth (`accuracy`), and `rows`."""
    reliability_before: Sequence[Mapping[str, float]]
    """The same without the temperature; none where there is none."""
    classes: Sequence[Mapping[str, float]]
    """Precision, recall, F1 and rows of each label; none of numbers."""
    pictures: Mapping[str, bytes]
    """Title to PNG."""


def examine(
    task: Task,
    predictions: Floats,
    targets: NDArray[Any],
    *,
    uncalibrated: Floats,
    labels: Sequence[str],
    target_name: str,
) -> Examination:
    """Look at predictions beside the `targets` of the same rows; both as in the task's metrics.

    `uncalibrated` are the predictions without the temperature.
    """
    if task == "regression":
        table, bins = in_quarters(predictions, targets), number_reliability(predictions, targets)
        pictures = {
            "Predicted against actual on the held-out rows": number_picture(predictions, targets, target_name),
            "Quarters of the actual values": confusion_picture(table, QUARTERS),
        }
        return Examination(QUARTERS, table, bins, (), (), pictures)
    if task == "multi_label":
        classes = per_label(predictions, targets)
        bins, before = (label_reliability(each, targets) for each in (predictions, uncalibrated))
        names = [name for label in labels for name in (label, f"not {label}")]
        pictures = {
            "Labels on the held-out rows": label_picture(classes, labels),
            "Reliability of the probabilities": reliability_picture(
                bins, before, predicted="probability", seen="share that has the label"
            ),
        }
        return Examination(names, label_confusion(predictions, targets), bins, before, classes, pictures)
    table = confusion(predictions, targets)
    bins, before = (reliability(each, targets) for each in (predictions, uncalibrated))
    pictures = {
        "Confusion on the held-out rows": confusion_picture(table, labels),
        "Reliability of the probabilities": reliability_picture(bins, before),
    }
    return Examination(labels, table, bins, before, per_class(table), pictures)


def baseline(task: Task, train: NDArray[Any], rows: int, labels: Sequence[object]) -> tuple[str, Floats]:
    """What can be said of `rows` rows without looking at them: in words, and as predictions.

    These are the frequencies of the training rows' labels, or the mean of their numbers.
    """
    if task == "regression":
        return f"{train.mean():g}", np.full((rows, 1), train.mean())
    if task == "multi_label":
        shares = train.mean(0)
        frequent = [str(label) for label, share in zip(labels, shares, strict=True) if share >= THRESHOLD]
        return ", ".join(frequent) or "no label", np.tile(shares, (rows, 1))
    shares = np.bincount(train, minlength=len(labels)) / len(train)
    return str(labels[int(shares.argmax())]), np.tile(shares, (rows, 1))
