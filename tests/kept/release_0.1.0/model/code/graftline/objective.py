"""What training minimises and what chooses its best epoch, for each task."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from graftline.outputs import Outputs


class Objective(Protocol):
    """A loss to train on, and what the validation rows are judged by. Outputs are (rows, outputs)."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of rows, as it is trained on."""
        ...

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of rows without weights and smoothing, so that it can be compared between settings."""
        ...

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """The task's primary score: the epoch in which it is highest is best."""
        ...


@dataclass(frozen=True, eq=False)
class OneLabel:
    """Cross entropy and accuracy, for targets (rows,)."""

    weights: Tensor | None = None
    """(classes,): how much each class counts."""
    label_smoothing: float = 0.0

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weights = None if self.weights is None else self.weights.to(outputs)
        return nn.functional.cross_entropy(outputs, targets, weight=weights, label_smoothing=self.label_smoothing)

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        return float((outputs.argmax(1) == targets).float().mean())


@dataclass(frozen=True, eq=False)
class SeveralLabels:
    """Binary cross entropy, averaged over labels, and macro-F1 at a probability of 0.5, for targets (rows, labels)."""

    weights: Tensor | None = None
    """(labels,): how much more a row that has the label counts than one that has not."""
    label_smoothing: float = 0.0

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weights = None if self.weights is None else self.weights.to(outputs)
        # Of the two classes of each label, as cross entropy spreads it over all classes.
        smooth = targets.to(outputs) * (1 - self.label_smoothing) + self.label_smoothing / 2
        return nn.functional.binary_cross_entropy_with_logits(outputs, smooth, pos_weight=weights)

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(outputs, targets.to(outputs))

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        predicted, true = outputs >= 0, targets > 0
        right, all_ = (predicted & true).sum(0), predicted.sum(0) + true.sum(0)
        return float((2 * right / all_.clamp(min=1)).mean())


@dataclass(frozen=True)
class Number:
    """Mean squared error and R², for standardised targets (rows, 1)."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.mse_loss(outputs, targets.to(outputs))

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs, targets)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        left = (outputs.double() - targets).square().sum()
        spread = (targets.double() - targets.double().mean()).square().sum()
        # Equal targets cannot be told apart, so nothing is explained.
        return float(1 - left / spread) if spread > 0 else 0.0


def objective_for(
    outputs: Outputs, targets: Tensor, *, balanced: bool = False, label_smoothing: float = 0.0
) -> Objective:
    """The objective of a model with these outputs; `targets` are those of its training rows."""
    if outputs.task == "regression":
        return Number()
    if outputs.task == "multi_label":
        return SeveralLabels(balanced_label_weights(targets) if balanced else None, label_smoothing)
    return OneLabel(balanced_weights(targets, outputs.width) if balanced else None, label_smoothing)


def balanced_weights(targets: Tensor, classes: int) -> Tensor:
    """Weight of each class, inverse to its frequency, 1 on average over the rows: (classes,).

    A class without rows counts as if it had one: its weight is never used, but stays a number.
    """
    return len(targets) / (classes * torch.bincount(targets, minlength=classes).clamp(min=1).float())


def balanced_label_weights(targets: Tensor) -> Tensor:
    """With these weights the rows that have a label count as much as those that have not: (labels,).

    A label that all rows or none have counts as if one row were the other way.
    """
    there = targets.sum(0).float()
    return (len(targets) - there).clamp(min=1) / there.clamp(min=1)
