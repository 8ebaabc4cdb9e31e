"""Findings about a model beside its scores: how it takes changed inputs, treats groups, and forgets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue, TypeAdapter
from scipy.stats import binomtest

from graftline.behaviour.bias import Disparity
from graftline.behaviour.group_thresholds import ThresholdsOfGroups
from graftline.behaviour.retention import Retention
from graftline.evaluation.bootstrap import CONFIDENCE
from graftline.transfer.pairs import Pair


@dataclass(frozen=True)
class Counted:
    """How many of some rows did what they should."""

    name: str
    rows: int
    right: int
    low: float
    """The share's 95 % interval (Wilson 1927), which holds also near 0 and 1."""
    high: float

    @property
    def share(self) -> float:
        return self.right / self.rows


def counted(name: str, right: NDArray[np.bool_]) -> Counted:
    """The count of rows (rows,), of which there must be one."""
    low, high = binomtest(int(right.sum()), len(right)).proportion_ci(CONFIDENCE, method="wilson")
    return Counted(name, len(right), int(right.sum()), float(low), float(high))


@dataclass(frozen=True)
class Behaviour:
    """Everything of it that a verdict can look at."""

    changes: Sequence[Counted] = ()
    """How many answers stayed, by the change that no label depends on."""
    directions: Sequence[Counted] = ()
    """How many answers moved as they should, by the words that were exchanged."""
    disparities: Sequence[Disparity] = ()
    left_out: Sequence[str] = ()
    """Words and columns that the settings ask for and the rows do not hold, in sentences."""
    retention: Retention | None = None
    """How well the source task was kept; None where the settings name no rows of it."""
    thresholds: Sequence[ThresholdsOfGroups] = ()
    """What thresholds for each group would bring, where the settings ask for it."""
    distances: Sequence[Pair] = ()
    """How far the rows to learn from lie from those of the source task, and each slice from the others."""

    def as_json(self) -> JsonValue:
        """Plain values, as `behaviour_of` reads them."""
        plain: dict[str, JsonValue] = _ADAPTER.dump_python(self, mode="json")
        # Records of those who ask for none of these were written before they could be asked for.
        return {name: value for name, value in plain.items() if value or name not in ("thresholds", "distances")}


_ADAPTER = TypeAdapter(Behaviour)


def behaviour_of(plain: JsonValue) -> Behaviour:
    """A behaviour from plain values."""
    return _ADAPTER.validate_python(plain)
