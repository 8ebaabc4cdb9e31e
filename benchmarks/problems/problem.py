"""The problem of a comparison: a base model, labelled rows, and rows to be judged by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from graftline.models.preprocessing import Raw, Reading


@dataclass(frozen=True)
class Labelled:
    """Inputs and the places of their labels."""

    inputs: Sequence[Raw]
    targets: Sequence[int]

    def first(self, rows: int) -> Self:
        return replace(self, inputs=self.inputs[:rows], targets=self.targets[:rows])


@dataclass(frozen=True)
class Task:
    """The same labels for every side: whoever needs validation rows takes them from `train`."""

    base: Path
    reading: Reading
    labels: tuple[str, ...]
    train: Labelled
    test: Labelled

    def small(self, rows: int) -> Self:
        """The task with so few rows on either side."""
        return replace(self, train=self.train.first(rows), test=self.test.first(rows))
