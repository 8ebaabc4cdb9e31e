"""An axis of the verdict, and its parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from graftline.evaluation.bootstrap import Difference

Outcome = Literal["win", "tie", "loss", "unknown"]
Consequence = Literal["HOLD", "REJECT"]
Numbers = Mapping[str, float | None]
# The smallest difference that could have been shown is the one that would have been, four times out of five.
POWER = 0.8
# Of the one in five that a row count may leave unshown, half is for the main score's test, half for all others.
RISK = (1 - POWER) / 2


@dataclass(frozen=True)
class Part:
    """One slice, score, floor or baseline of an axis."""

    name: str
    outcome: Outcome
    numbers: Numbers
    sentence: str


@dataclass(frozen=True)
class Axis:
    """One side of the candidate, and what follows for the verdict."""

    name: str
    outcome: Outcome
    sentence: str
    consequence: Consequence | None = None
    """The verdict that it leads to; none where it is well, or where the policy only has it advise."""
    blocks: bool = True
    """Whether the policy lets it block a promotion."""
    numbers: Numbers | None = None
    parts: Sequence[Part] = ()
    asked: bool = True
    """Whether the policy asks anything of it, and there is something to compare with."""

    def as_advice(self) -> "Axis":
        """The same without consequences."""
        return replace(self, consequence=None, blocks=False)


def against_the_champion(axes: Sequence[Axis]) -> Numbers:
    """The numbers of the axis that compares with the champion at a level; none where there was no champion."""
    every = (axis.numbers for axis in axes if axis.numbers)
    return next((numbers for numbers in every if numbers.get("level") is not None), {})


def of_parts(name: str, parts: Sequence[Part], well: str) -> Axis:
    """An axis that is well where all its parts are; one that is lost rejects, one that is open holds."""
    outcome = worst(parts)
    failed = [part for part in parts if part.outcome in ("loss", "unknown")]
    consequence: Consequence | None = None
    if failed:
        consequence = "REJECT" if outcome == "loss" else "HOLD"
    sentence = "; ".join(f"{part.name} {part.sentence}" for part in failed) or well
    return Axis(name, outcome, sentence, consequence, parts=parts)


def numbers_of(difference: Difference) -> dict[str, float]:
    """A difference and its interval."""
    return {"difference": difference.value, "low": difference.low, "high": difference.high}


def worst(parts: Sequence[Part]) -> Outcome:
    order: Sequence[Outcome] = ("loss", "unknown", "tie", "win")
    return min((part.outcome for part in parts), key=order.index, default="unknown")
