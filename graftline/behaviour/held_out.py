"""The numbers of the held-out rows beside scores and comparisons: class by class, slice by slice, bin by bin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue, TypeAdapter

from graftline.behaviour.findings import Behaviour
from graftline.evaluation.examples import Examples

Numbers = Mapping[str, int | float]
Scores = Mapping[str, Numbers]
"""Of each score `value`, `low` and `high`."""


@dataclass(frozen=True)
class Majority:
    """The baseline that needs no model."""

    label: str | None
    """The answer that it always gives, in words."""
    scores: Scores


@dataclass(frozen=True)
class Calibration:
    """The effect of the temperature: how sure the model was of itself before."""

    temperature: float
    scores_before: Scores
    reliability_before: Sequence[Numbers]


@dataclass(frozen=True)
class SliceScores:
    """The scores on one slice."""

    value: str
    rows: int
    scores: Scores


@dataclass(frozen=True)
class HeldOut:
    """Everything that a report shows of the held-out rows."""

    rows: int
    majority: Majority
    calibration: Calibration
    classes: Sequence[Mapping[str, str | int | float]]
    """By label: its name, rows, precision, recall and F1."""
    slices: Mapping[str, Sequence[SliceScores]]
    """By column."""
    confusion: Sequence[Sequence[int]]
    """Counts by actual and predicted class, in the order of `confusion_names`."""
    confusion_names: Sequence[str]
    reliability: Sequence[Numbers]
    """By bin of the confidence."""
    pictures: Mapping[str, str]
    """Titles to names of files beside the numbers."""
    behaviour: Behaviour
    examples: Examples | None
    """Rows to look at; None where the settings ask for none."""
    groups: int | None = None
    """How many groups the rows are of, with `data.group`."""


_ADAPTER = TypeAdapter(HeldOut)


def held_out_of(plain: JsonValue) -> HeldOut:
    """The record from plain values, of which others may stand beside its own."""
    return _ADAPTER.validate_python(plain)
