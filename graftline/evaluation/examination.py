"""Tables and pictures of the predictions for held-out rows, beside the scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from graftline.evaluation.metrics import Floats, Integers


@dataclass(frozen=True, eq=False)
class Answers:
    """One model's predictions beside the `targets` of the same rows; all as in the task's metrics."""

    predictions: Floats
    uncalibrated: Floats
    """The predictions without the temperature."""
    targets: NDArray[Any]
    labels: Sequence[str]
    target_name: str
    """The column of the targets."""


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
