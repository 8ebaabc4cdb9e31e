"""A number per row: one output, learned standardised."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graftline.errors import DataRefusedError
from graftline.evaluation.given import Given
from graftline.models.output_kind import OutputKind, Predictions
from graftline.models.outputs import Outputs


def read(targets: Sequence[str], labels: Sequence[str], separator: str) -> Tensor:  # noqa: ARG001 - others need it
    """The numbers: float64 (rows, 1)."""
    return torch.tensor([float(target) for target in targets], dtype=torch.float64).unsqueeze(1)


def outputs_for(labels: Sequence[str], train: Tensor) -> Outputs:  # noqa: ARG001
    """Raises: DataRefusedError for numbers so large that they have no finite standard deviation."""
    spread = float(train.std(correction=0))
    if not math.isfinite(spread):
        raise DataRefusedError(
            f"the targets of the training rows reach from {float(train.min()):g} to {float(train.max()):g}, so that"
            f" their standard deviation is {spread:g}, expected a finite number; correct or remove the rows with the"
            " largest ones, or let the targets be logarithms"
        )
    # Numbers that are all the same have no spread; any other divisor leaves them at zero.
    return Outputs("regression", mean=float(train.mean()), spread=spread or 1.0)


def as_learned(outputs: Outputs, targets: Tensor) -> Tensor:
    """Raises: DataRefusedError for a number so far from those of the training rows that no squared error holds it."""
    numbers = targets.double()
    standardised = ((numbers - outputs.mean) / outputs.spread).float()
    if not standardised.square().sum().isfinite():
        farthest = float(numbers[standardised.abs().argmax()])
        raise DataRefusedError(
            f"the target {farthest:g} is too far from those of the training rows, whose mean is {outputs.mean:g} and"
            f" whose standard deviation is {outputs.spread:g}, for a squared error in float32; correct or remove its"
            " row, or let the targets be logarithms"
        )
    return standardised


def answers(outputs: Outputs, raw: Tensor) -> Tensor:
    """The numbers in the unit of the targets."""
    return raw.double() * outputs.spread + outputs.mean


def given(outputs: Outputs, numbers: Predictions) -> Given:  # noqa: ARG001
    """There are no labels to give."""
    return np.zeros(numbers.shape, dtype=bool)


def answered(predictions: Predictions, labels: Sequence[str]) -> dict[str, list[Any]]:  # noqa: ARG001
    return {"value": predictions[:, 0].tolist()}


def understood(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], Predictions]:
    """No labels, and the numbers (rows, 1)."""
    return [], np.array([[row["value"]] for row in rows], dtype=float)


OUTPUTS = OutputKind(
    read=read,
    outputs_for=outputs_for,
    as_learned=as_learned,
    answers=answers,
    given=given,
    columns={"value": "number"},
    answered=answered,
    understood=understood,
)
