"""The objective of several labels per row: binary cross entropy, judged by macro-F1."""

from dataclasses import dataclass

from torch import Tensor, nn

from graftline.models.outputs import Outputs
from graftline.training.objective import Objective, shifted


@dataclass(frozen=True, eq=False)
class SeveralLabels:
    """Binary cross entropy, averaged over labels, and macro-F1 at a probability of 0.5, for targets (rows, labels)."""

    weights: Tensor | None = None
    """(labels,): how much more a row that has the label counts than one that has not."""
    label_smoothing: float = 0.0
    shift: Tensor | None = None
    """(labels,): added to the outputs while they are learned, so that they need not say it themselves."""

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        outputs = shifted(outputs, self.shift)
        of_labels = None if self.weights is None else self.weights.to(outputs)
        # Of the two classes of each label, as cross entropy spreads it over all classes.
        smooth = targets.to(outputs) * (1 - self.label_smoothing) + self.label_smoothing / 2
        each = None if weights is None else weights.to(outputs)
        return nn.functional.binary_cross_entropy_with_logits(outputs, smooth, each, pos_weight=of_labels)

    def counted(self, targets: Tensor) -> float:
        return len(targets)

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(shifted(outputs, self.shift), targets.to(outputs))

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        predicted, true = outputs >= 0, targets > 0
        right, all_ = (predicted & true).sum(0), predicted.sum(0) + true.sum(0)
        return float((2 * right / all_.clamp(min=1)).mean())


def balanced_label_weights(targets: Tensor) -> Tensor:
    """With these weights the rows that have a label count as much as those that have not: (labels,).

    A label that all rows or none have counts as if one row were the other way.
    """
    there = targets.sum(0).float()
    return (len(targets) - there).clamp(min=1) / there.clamp(min=1)


def objective_for(
    outputs: Outputs,  # noqa: ARG001 - others need it
    targets: Tensor,
    *,
    balanced: bool = False,
    adjusted: bool = False,
    label_smoothing: float = 0.0,
) -> Objective:
    """The objective for these targets of the training rows."""
    weights = balanced_label_weights(targets)
    # The log of the odds that a row has the label, of which the weights are the inverse.
    return SeveralLabels(weights if balanced else None, label_smoothing, -weights.log() if adjusted else None)
