"""All that a training tells of itself: its steps, its epochs, and its failure; and who is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graftline.errors import GraftlineError


class DivergedError(GraftlineError):
    """A loss or a gradient is no longer a finite number."""


@dataclass(frozen=True)
class Progress:
    """The step that a training has just taken."""

    epoch: int
    step: int
    steps: int
    loss: float
    rows_per_second: float


@dataclass(frozen=True)
class Epoch:
    """The outcome of one pass over the training rows."""

    number: int
    train_loss: float
    validation_loss: float
    validation_score: float
    """The task's primary score; higher is better."""


@dataclass(frozen=True)
class Listener:
    """Who is told how it goes."""

    progress: Callable[[Progress], None] = lambda _: None
    finished_epoch: Callable[[Epoch], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None
    passed: Callable[[int, int], None] = lambda _, __: None
    """So many rows of so many have passed the frozen part."""
    saved: Callable[[], None] = lambda: None
    """A checkpoint was written: what lies in the folder is enough to go on from."""


def best_epoch(epochs: Sequence[Epoch]) -> Epoch:
    """The epoch with the highest validation score; of equals the one with the lowest loss, then the earliest."""
    return min(epochs, key=rank)


def rank(epoch: Epoch) -> tuple[float, float, int]:
    """The place of an epoch among others; the lowest is best."""
    return -epoch.validation_score, epoch.validation_loss, epoch.number
