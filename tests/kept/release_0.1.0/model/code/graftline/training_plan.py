"""What a training is given, and what it tells of itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor, nn

from graftline.errors import GraftlineError
from graftline.precision import Precision


class DivergedError(GraftlineError):
    """A loss or a gradient is no longer a finite number."""


class Rows(Protocol):
    """Rows that a model can be trained on, by row number."""

    @property
    def lengths(self) -> Sequence[int]: ...
    @property
    def targets(self) -> Tensor: ...
    def in_epoch(self, epoch: int) -> "Rows":
        """The rows as this epoch sees them, counted from 0; as many, and each as long, in every epoch."""
        ...

    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        """The model's output for these rows: (rows, outputs)."""
        ...


@dataclass(frozen=True)
class Plan:
    """How to train."""

    epochs: int
    batch_size: int
    learning_rate: float
    head_learning_rate: float
    weight_decay: float
    warmup_share: float
    precision: Precision
    patience: int
    seed: int
    schedule: Literal["linear", "cosine"] = "linear"
    layer_decay: float = 1.0
    """Each block learns this much more slowly than the one behind it."""
    l2_sp: float = 0.0
    """Strength of the pull of the pre-trained part towards the weights that it started from (arXiv 1802.01483)."""
    accumulation: int = 1
    """Batches whose gradients make one step."""
    keep_epochs: bool = False
    """Whether the weights of the best epochs stay, for `average_greedily`."""
    recomputed: bool = False
    """Whether the backward pass computes activations again."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training rows came to."""

    number: int
    train_loss: float
    validation_loss: float
    validation_score: float
    """The task's primary score; higher is better."""


@dataclass(frozen=True)
class Progress:
    """Where training stands."""

    epoch: int
    step: int
    steps: int
    loss: float
    rows_per_second: float


def best_epoch(epochs: Sequence[Epoch]) -> Epoch:
    """The epoch with the highest validation score; of equals the one with the lowest loss, then the earliest."""
    return min(epochs, key=rank)


def rank(epoch: Epoch) -> tuple[float, float, int]:
    return -epoch.validation_score, epoch.validation_loss, epoch.number
