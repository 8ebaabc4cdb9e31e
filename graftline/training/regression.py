"""The objective of a number per row: squared error, judged by R²."""

from dataclasses import dataclass

from torch import Tensor, nn

from graftline.models.outputs import Outputs
from graftline.training.objective import Objective


@dataclass(frozen=True)
class Number:
    """Mean squared error and R², for standardised targets (rows, 1)."""

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        if weights is None:
            return nn.functional.mse_loss(outputs, targets.to(outputs))
        return ((outputs - targets.to(outputs)).square() * weights.to(outputs)[:, None]).mean()

    def counted(self, targets: Tensor) -> float:
        return len(targets)

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs, targets)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        left = (outputs.double() - targets).square().sum()
        spread = (targets.double() - targets.double().mean()).square().sum()
        # Equal targets cannot be told apart, so nothing is explained.
        return float(1 - left / spread) if spread > 0 else 0.0


def objective_for(
    outputs: Outputs,  # noqa: ARG001 - others need them all
    targets: Tensor,  # noqa: ARG001
    *,
    balanced: bool = False,  # noqa: ARG001 - the settings refuse all three for numbers
    adjusted: bool = False,  # noqa: ARG001
    label_smoothing: float = 0.0,  # noqa: ARG001
) -> Objective:
    """The one objective of all numbers."""
    return Number()
