"""Outputs of a model, as its folder describes them."""

from dataclasses import dataclass

from graftline.settings import Task


@dataclass(frozen=True)
class Outputs:
    """The meaning of a model's outputs for a row; written down beside the model, which would be mute without it."""

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
        return len(self.labels) or 1
