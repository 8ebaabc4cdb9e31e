"""Measuring sides by turns, so that whatever slows the machine down slows all of them down."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from benchmarks.problems.problem import Task
from graftline.compute.precision import Precision
from graftline.settings import Kind

T = TypeVar("T")
# Accuracies are equal if they differ by no more than half a point.
TOLERANCE = 0.005
# With so few rows a side is warmed up, and a candidate tried.
WARM_UP_ROWS = 32
# Of which the best counts: the first one also warms a candidate up.
TRIALS = 2


class Clock:
    """What all sides are timed by: the clock on the wall, or the time that the processor worked for this process.

    With one thread the second is what the first shows on an idle machine, and other work beside it hardly matters.
    """

    of_processor = False

    @classmethod
    def seconds(cls) -> float:
        return time.process_time() if cls.of_processor else time.perf_counter()


@dataclass(frozen=True)
class Outcome:
    """The seconds of one repetition, and the accuracy that it reached."""

    seconds: float
    accuracy: float | None = None
    work: float = 1.0
    """The work done in these seconds: 1 is the whole task, otherwise so many GFLOP."""


@dataclass(frozen=True)
class Side(Generic[T]):
    """One way to do the task."""

    name: str
    what: str
    """How it is set up, in words."""
    run: Callable[[T, int], Outcome]
    """Does the task once, with a seed."""
    once: bool = False
    """Whether one repetition is enough, because only its accuracy is of interest."""


@dataclass(frozen=True)
class Measured:
    """One side's repetitions; each has its own seed."""

    what: str
    seconds: tuple[float, ...]
    work: tuple[float, ...]
    accuracies: tuple[float, ...]

    @property
    def rates(self) -> tuple[float, ...]:
        """Tasks or GFLOP per second."""
        return tuple(work / seconds for work, seconds in zip(self.work, self.seconds, strict=True))

    @property
    def accuracy(self) -> float | None:
        return statistics.mean(self.accuracies) if self.accuracies else None


@dataclass(frozen=True)
class Row:
    """One line of the table: `ours` against another side, and what the quotient of their rates must reach."""

    what: str
    ours: str
    against: str
    target: float | None = None
    as_share: bool = False
    """Whether it reads as a percentage instead of "times as fast"."""
    most_seconds: float | None = None
    least_accuracy: float | None = None
    """Otherwise the accuracy must be that of the other side, less `TOLERANCE`."""


@dataclass(frozen=True)
class Bench:
    """The measure that all comparisons share."""

    repeats: int
    fast: Precision
    """The precision in which this processor multiplies matrices fastest."""
    scratch: Path
    peak_seconds: float
    """How long one repetition of a matrix product takes."""
    say: Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """Some sides of one task, and the lines of the table that they fill."""

    name: str
    kind: Kind
    rows: tuple[Row, ...]
    measure: Callable[[Bench, Task], Mapping[str, Measured]]


def by_turns(bench: Bench, sides: Sequence[Side[T]], task: T, *, small: T) -> dict[str, Measured]:
    """Each side once on the small task, then as often as asked on the task; every turn starts with another side."""
    outcomes: dict[str, list[Outcome]] = {side.name: [] for side in sides}
    for side in sides:
        side.run(small, 0)
    for turn in range(bench.repeats):
        start = turn % len(sides)
        for side in (*sides[start:], *sides[:start]):
            if turn and side.once:
                continue
            outcome = side.run(task, turn)
            outcomes[side.name].append(outcome)
            accuracy = "" if outcome.accuracy is None else f", accuracy {outcome.accuracy:.4f}"
            bench.say(f"{turn + 1} of {bench.repeats}: {side.name}: {outcome.seconds:.2f} s{accuracy}")
    return {side.name: _measured(side, outcomes[side.name]) for side in sides}


def fastest(candidates: Sequence[T], seconds: Callable[[T], float]) -> T:
    """The candidate that takes the fewest seconds in the best of its trials."""
    return min(candidates, key=lambda candidate: min(seconds(candidate) for _ in range(TRIALS)))


def ratios(ours: Measured, against: Measured) -> tuple[float, float, float]:
    """Median, lowest and highest quotient of the rates over the repetitions that both have."""
    quotients = [one / other for one, other in zip(ours.rates, against.rates, strict=False)]
    return statistics.median(quotients), min(quotients), max(quotients)


def shortfalls(row: Row, ours: Measured, against: Measured) -> list[str]:
    """The reasons why the row misses its target; none if it is reached, or has none."""
    if row.target is None:
        return []
    found = [] if ratios(ours, against)[0] >= row.target else ["speed"]
    if row.most_seconds is not None and statistics.median(ours.seconds) > row.most_seconds:
        found.append("seconds")
    least = row.least_accuracy
    if least is None and against.accuracy is not None:
        least = against.accuracy - TOLERANCE
    if least is not None and ours.accuracy is not None and ours.accuracy < least:
        found.append("accuracy")
    return found


def _measured(side: Side[T], outcomes: Sequence[Outcome]) -> Measured:
    return Measured(
        what=side.what,
        seconds=tuple(outcome.seconds for outcome in outcomes),
        work=tuple(outcome.work for outcome in outcomes),
        accuracies=tuple(outcome.accuracy for outcome in outcomes if outcome.accuracy is not None),
    )
