"""What a model's outputs mean: one label, any number of labels, or a number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graftline.errors import DataRefusedError
from graftline.settings import Task
from graftline.targets import labels_in


@dataclass(frozen=True)
class Outputs:
    """What a model says of a row. It is written down beside the model, which would be mute without it."""

    task: Task
    labels: tuple[str, ...] = ()
    """Those that it chooses from, in the order of its outputs; none where it gives a number."""
    mean: float = 0.0
    """Of the training rows' numbers: a model learns them standardised, which suits its random head."""
    spread: float = 1.0
    """Standard deviation of the training rows' numbers."""
    temperature: float = 1.0
    """Divides the outputs in front of the probabilities, so that these are as often right as they say."""

    @property
    def width(self) -> int:
        """How many outputs there are for each row."""
        return 1 if self.task == "regression" else len(self.labels)

    def as_learned(self, targets: Tensor) -> Tensor:
        """Targets from `read_targets` as a loss reads them: int64 (rows,) or float32 (rows, outputs).

        Raises: DataRefusedError for a number so far from those of the training rows that no squared error holds it.
        """
        if self.task == "single_label":
            return targets
        return self._standardised(targets.double()) if self.task == "regression" else targets.float()

    def answers(self, outputs: Tensor) -> Tensor:
        """What the outputs (rows, outputs) say, in float64: probabilities, or numbers in the unit of the targets.

        The probabilities of a row add up to 1 if it has one label; otherwise each label has its own.
        """
        if self.task == "regression":
            return outputs.double() * self.spread + self.mean
        calibrated = outputs.double() / self.temperature
        return torch.softmax(calibrated, dim=1) if self.task == "single_label" else calibrated.sigmoid()

    def _standardised(self, targets: Tensor) -> Tensor:
        standardised = ((targets - self.mean) / self.spread).float()
        if not standardised.square().sum().isfinite():
            farthest = float(targets[standardised.abs().argmax()])
            raise DataRefusedError(
                f"the target {farthest:g} is too far from those of the training rows, whose mean is {self.mean:g} and"
                f" whose standard deviation is {self.spread:g}, for a squared error in float32; correct or remove its"
                " row, or let the targets be logarithms"
            )
        return standardised


def outputs_for(task: Task, labels: Sequence[str], train: Tensor) -> Outputs:
    """The outputs of a new model; `train` are the training rows' targets from `read_targets`.

    Raises: DataRefusedError if they are numbers so large that they have no finite standard deviation.
    """
    if task != "regression":
        return Outputs(task, tuple(labels))
    spread = float(train.std(correction=0))
    if not math.isfinite(spread):
        raise DataRefusedError(
            f"the targets of the training rows reach from {float(train.min()):g} to {float(train.max()):g}, so that"
            f" their standard deviation is {spread:g}, expected a finite number; correct or remove the rows with the"
            " largest ones, or let the targets be logarithms"
        )
    # Numbers that are all the same have no spread; any other divisor leaves them at zero.
    return Outputs(task, mean=float(train.mean()), spread=spread or 1.0)


def read_targets(targets: Sequence[str], task: Task, labels: Sequence[str], separator: str) -> Tensor:
    """Accepted targets as numbers.

    Returns: the label's place, int64 (rows,); 1 where a row has the label, int64 (rows, labels); or float64 (rows, 1).
    """
    if task == "regression":
        return torch.tensor([float(target) for target in targets], dtype=torch.float64).unsqueeze(1)
    places = {label: place for place, label in enumerate(labels)}
    if task == "single_label":
        return torch.tensor([places[target] for target in targets], dtype=torch.int64)
    there = torch.zeros(len(targets), len(labels), dtype=torch.int64)
    for row, target in enumerate(targets):
        there[row, [places[label] for label in labels_in(target, separator)]] = 1
    return there
