"""A candidate beside another model on the same rows: the numbers that a verdict rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue, TypeAdapter

from graftline.label_metrics import THRESHOLD
from graftline.metrics import Difference, Floats, Score, differences, scores
from graftline.paired import Gains, gains
from graftline.settings import Task
from graftline.task_metrics import METRICS_OF


@dataclass(frozen=True)
class SliceGains:
    """What the candidate gains on a part of the rows."""

    column: str
    value: str
    gains: Gains


@dataclass(frozen=True)
class Comparison:
    """A candidate against another model, paired on rows."""

    against: str
    """The other model, in words."""
    scores: Mapping[str, Score]
    """Those of the other model."""
    differences: Mapping[str, Difference]
    """Candidate minus the other model."""
    gains: Gains
    slices: Sequence[SliceGains] = ()

    def as_json(self) -> JsonValue:
        """Plain values, as `comparison_of` reads them."""
        plain: JsonValue = _ADAPTER.dump_python(self, mode="json")
        return plain


_ADAPTER = TypeAdapter(Comparison)


def comparison_of(plain: JsonValue) -> Comparison:
    """A comparison from plain values."""
    return _ADAPTER.validate_python(plain)


@dataclass(frozen=True)
class Slice:
    """A part of the held-out rows."""

    column: str
    value: str
    rows: NDArray[np.bool_]
    """Which of the rows belong to it."""


def compare(
    task: Task,
    candidate: Floats,
    other: Floats,
    targets: NDArray[Any],
    *,
    against: str,
    slices: Sequence[Slice],
    resamples: int,
    seed: int,
) -> Comparison:
    """Compare two models' predictions for the same rows, given as in the task's metrics."""
    of, strata = METRICS_OF[task], strata_of(task, targets)
    ours, theirs = (row_quality(task, predictions, targets) for predictions in (candidate, other))
    hits = task == "single_label"
    return Comparison(
        against=against,
        scores=scores(other, targets, resamples=resamples, seed=seed, of=of, strata=strata),
        differences=differences(candidate, other, targets, resamples=resamples, seed=seed, of=of, strata=strata),
        gains=gains(ours, theirs, hits=hits),
        slices=[
            SliceGains(part.column, part.value, gains(ours[part.rows], theirs[part.rows], hits=hits)) for part in slices
        ],
    )


def strata_of(task: Task, targets: NDArray[Any]) -> NDArray[np.int64] | None:
    """What the resamples hold fixed: the class, where a row has exactly one."""
    return targets.astype(np.int64) if task == "single_label" else None


def row_quality(task: Task, predictions: Floats, targets: NDArray[Any]) -> Floats:
    """How good each row's prediction is: (rows,), higher is better, the mean near the task's primary score.

    Whether its label is right; the share of labels that are rightly given or not given; how much of the mean variance
    of all these rows' numbers is left unexplained, as a negative number.
    """
    if task == "single_label":
        return np.asarray(predictions.argmax(1) == targets, dtype=float)
    if task == "multi_label":
        return np.asarray(((predictions >= THRESHOLD) == (targets > 0)).mean(1))
    variance = float(targets.var())
    return np.asarray(-((predictions - targets)[:, 0] ** 2) / (variance or 1.0))


def length_slices(lengths: Sequence[float], training: Sequence[float], *, column: str, unit: str) -> list[Slice]:
    """Held-out rows by their length, in quarters of the training rows' lengths: fewer where lengths are equal."""
    edges = np.unique(np.quantile(training, [0.25, 0.5, 0.75], method="inverted_cdf"))
    place = np.searchsorted(edges, lengths, side="left")
    names = [f"up to {edge:g} {unit}" for edge in edges] + [f"above {edges[-1]:g} {unit}"]
    return [Slice(column, name, place == number) for number, name in enumerate(names) if (place == number).any()]


def value_slices(column: str, values: Sequence[str]) -> list[Slice]:
    """One slice for each value of a column."""
    known = np.array(values)
    return [Slice(column, value, known == value) for value in sorted(set(values))]
