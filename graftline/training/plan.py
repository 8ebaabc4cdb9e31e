"""All that a training is given: a model, its rows, an objective, and how to train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor, nn

from graftline.compute.precision import Precision
from graftline.frozen.freezing import FreezePoint
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.objective import Objective
from graftline.training.progress import Epoch, Listener
from graftline.training.together import ALONE, Together


class Rows(Protocol):
    """Rows that a model can be trained on, by row number."""

    @property
    def lengths(self) -> Sequence[int]: ...
    @property
    def targets(self) -> Tensor: ...
    @property
    def weights(self) -> Tensor | None:
        """How much each row counts in the loss, if not all alike: (rows,), or (rows, labels)."""
        ...

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
    last_epoch: int | None = None
    """The epoch after which it ends, whose weights it keeps, with rates as if all `epochs` followed. No row judges it.
    None: the validation rows choose of all."""
    keep_epochs: bool = False
    """Whether the weights of the best epochs stay, for `average_greedily`."""
    recomputed: bool = False
    """Whether the backward pass computes activations again."""
    tied_embeddings: bool = False
    """Whether a table of embeddings is the weight of an output layer, too, so that all its rows learn in each step."""


@dataclass(frozen=True)
class Training:
    """A model to train in place behind its freeze point, and all that decides how."""

    model: nn.Module
    point: FreezePoint
    rows: Rows
    """Those to learn from."""
    validation: Rows
    """Those by which the best epoch is chosen, unless the plan names it."""
    objective: Objective
    plan: Plan
    listener: Listener = field(default_factory=Listener)
    base: Mapping[str, Tensor] | None = None
    """The weights that L2-SP pulls towards; None: those from which the training starts."""
    together: Together = ALONE
    """The processes that train this model at the same time, and this one's place among them."""


class Train(Protocol):
    """Who trains: this process, or several together."""

    def __call__(self, training: Training, folder: Path, *, epochs_before: int = 0) -> list[Epoch]: ...


def plan_from(settings: AdaptationSettings) -> Plan:
    """How to train, as the settings say it."""
    return Plan(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        head_learning_rate=settings.head_learning_rate,
        weight_decay=settings.weight_decay,
        warmup_share=settings.warmup_share,
        precision=settings.precision,
        patience=settings.patience,
        seed=settings.seed,
        schedule=settings.schedule,
        layer_decay=settings.layer_decay,
        l2_sp=settings.l2_sp,
        accumulation=settings.gradient_accumulation,
        keep_epochs=settings.average == "greedy",
        recomputed=settings.gradient_checkpointing,
    )
