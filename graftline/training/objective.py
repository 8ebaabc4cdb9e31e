"""The loss that training minimises and the score that chooses its best epoch, for each task."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from graftline.models.outputs import Outputs


class Objective(Protocol):
    """A loss to train on, and the loss and score that judge the validation rows. Outputs are (rows, outputs)."""

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean loss of rows, as it is trained on; with `weights` (rows,) each loss counts so much in it.

        Weights of several labels are (rows, labels).
        """
        ...

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of rows without weights and smoothing, so that it can be compared between settings.

        Outputs that were learned as if labels were equally frequent are judged at their frequency.
        """
        ...

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """The task's primary score: the epoch in which it is highest is best."""
        ...


@runtime_checkable
class Separable(Objective, Protocol):
    """An objective whose mean loss of rows is the mean of that of their parts, each of which counts as it says."""

    def counted(self, targets: Tensor) -> float:
        """How much rows with these targets count, before any weights of rows."""
        ...


class ObjectiveFor(Protocol):
    """Makes the objective of a task."""

    def __call__(
        self,
        outputs: Outputs,
        targets: Tensor,
        *,
        balanced: bool = False,
        adjusted: bool = False,
        label_smoothing: float = 0.0,
    ) -> Objective:
        """For a model with these outputs and the targets of its training rows.

        `balanced` weighs rare labels more; `adjusted` has the outputs learn as if all labels were equally frequent.
        """
        ...


def shifted(outputs: Tensor, shift: Tensor | None) -> Tensor:
    """Outputs (rows, outputs) with a `shift` (outputs,) added to those of each row."""
    return outputs if shift is None else outputs + shift.to(outputs)
