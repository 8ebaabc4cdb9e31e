"""The part of a task that a model has: targets as numbers, outputs as answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from graftline.evaluation.given import Given
from graftline.models.outputs import Outputs

Predictions = NDArray[np.float64]
"""Probabilities (rows, labels), of a model with a rule beside its answers, or numbers (rows, 1)."""
Column = Literal["label", "labels", "number", "probabilities"]


@dataclass(frozen=True)
class OutputKind:
    """The meaning that outputs have in one task."""

    read: Callable[[Sequence[str], Sequence[str], str], Tensor]
    """Accepted targets, the labels and what stands between labels, as numbers: (rows,) or (rows, outputs)."""
    outputs_for: Callable[[Sequence[str], Tensor], Outputs]
    """The outputs of a new model with these labels, for training targets as `read` gives them.

    Raises: DataRefusedError if nothing can be learned from them.
    """
    as_learned: Callable[[Outputs, Tensor], Tensor]
    """Targets from `read` as a loss reads them: int64 (rows,) or float32 (rows, outputs).

    Raises: DataRefusedError for targets that no loss holds.
    """
    answers: Callable[[Outputs, Tensor], Tensor]
    """The answers in outputs (rows, outputs), in float64: probabilities, or numbers in the unit of the targets."""
    given: Callable[[Outputs, Predictions], Given]
    """Which labels the outputs' rule gives from these probabilities: (rows, labels)."""
    columns: Mapping[str, Column]
    """The columns of what a registered model answers."""
    answered: Callable[[Predictions, Sequence[str]], dict[str, list[Any]]]
    """These columns, for predictions with these labels."""
    understood: Callable[[Sequence[Mapping[str, Any]]], tuple[list[str], Predictions]]
    """The labels and predictions in the rows that a registered model answered."""


def named_probabilities(predictions: Predictions, labels: Sequence[str]) -> list[dict[str, float]]:
    """Each row's probabilities by label."""
    return [dict(zip(labels, map(float, row), strict=True)) for row in predictions]


def probabilities_in(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], Predictions]:
    """The labels, in the model's order, and the probabilities (rows, labels) of answers that name them."""
    labels = list(rows[0]["probabilities"])
    return labels, np.array([[row["probabilities"][label] for label in labels] for row in rows], dtype=float)
