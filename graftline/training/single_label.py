"""The objective of one label per row: cross entropy, judged by accuracy."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from graftline.models.outputs import Outputs
from graftline.training.objective import Objective, shifted


@dataclass(frozen=True, eq=False)
class OneLabel:
    """Cross entropy and accuracy, for targets (rows,)."""

    weights: Tensor | None = None
    """(classes,): how much each class counts."""
    label_smoothing: float = 0.0
    shift: Tensor | None = None
    """(classes,): added to the outputs while they are learned, so that they need not say it themselves."""

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        outputs = shifted(outputs, self.shift)
        of_classes = None if self.weights is None else self.weights.to(outputs)
        loss = partial(nn.functional.cross_entropy, weight=of_classes, label_smoothing=self.label_smoothing)
        if weights is None:
            return loss(outputs, targets)
        # The mean as it is without weights of rows, so that these change what counts and not how much all do.
        counted = len(targets) if of_classes is None else of_classes[targets].sum()
        return (loss(outputs, targets, reduction="none") * weights.to(outputs)).sum() / counted

    def counted(self, targets: Tensor) -> float:
        return len(targets) if self.weights is None else float(self.weights.double()[targets].sum())

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(shifted(outputs, self.shift), targets)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        return float((outputs.argmax(1) == targets).float().mean())


def balanced_weights(targets: Tensor, classes: int) -> Tensor:
    """Weight of each class, inverse to its frequency, 1 on average over the rows: (classes,).

    A class without rows counts as if it had one: its weight is never used, but stays a number.
    """
    return len(targets) / (classes * torch.bincount(targets, minlength=classes).clamp(min=1).float())


def log_frequencies(targets: Tensor, classes: int) -> Tensor:
    """The log of each class's share of the rows: (classes,). A class without rows counts as if it had one.

    Added to the outputs in the loss it makes them those of classes that are equally frequent (logit adjustment, Menon
    et al. 2021, arXiv 2007.07314, equation 10).
    """
    return (torch.bincount(targets, minlength=classes).clamp(min=1).float() / len(targets)).log()


def objective_for(
    outputs: Outputs, targets: Tensor, *, balanced: bool = False, adjusted: bool = False, label_smoothing: float = 0.0
) -> Objective:
    """The objective of a model with these outputs; `targets` are those of its training rows."""
    return OneLabel(
        balanced_weights(targets, outputs.width) if balanced else None,
        label_smoothing,
        log_frequencies(targets, outputs.width) if adjusted else None,
    )
