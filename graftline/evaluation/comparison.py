"""A candidate beside another model on the same rows: the numbers that a verdict rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue, TypeAdapter

from graftline.evaluation.bootstrap import Difference, Score, differences, scores
from graftline.evaluation.given import answers_in, with_answers
from graftline.evaluation.groups import Likeness
from graftline.evaluation.metrics import Floats, Integers
from graftline.evaluation.paired_tests import Gains, gains
from graftline.evaluation.task_scores import TaskScores


@dataclass(frozen=True)
class SliceGains:
    """The candidate's gains on a part of the rows."""

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
        # What only grouped rows have is not there without groups.
        plain: JsonValue = _ADAPTER.dump_python(self, mode="json", exclude_none=True)
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
    task_scores: TaskScores,
    candidate: Floats,
    other: Floats,
    targets: NDArray[Any],
    *,
    against: str,
    slices: Sequence[Slice],
    resamples: int,
    seed: int,
    groups: Integers | None = None,
) -> Comparison:
    """Compare two models' predictions for the same rows, given as in the task's metrics.

    Rows with the same number in `groups` (rows,) are not independent.
    """
    of, strata, hits = task_scores.metrics, task_scores.strata(targets), task_scores.hits
    ours, theirs = (task_scores.quality(predictions, targets) for predictions in (candidate, other))
    like = None if groups is None else Likeness.of(ours.astype(float) - theirs, groups)

    def of_part(rows: NDArray[np.bool_]) -> Gains:
        those = None if groups is None else groups[rows]
        return gains(ours[rows], theirs[rows], hits=hits, groups=those, like=like)

    return Comparison(
        against=against,
        scores=scores(other, targets, resamples=resamples, seed=seed, of=of, strata=strata, groups=groups),
        differences=differences(
            candidate, other, targets, resamples=resamples, seed=seed, of=of, strata=strata, groups=groups
        ),
        gains=gains(ours, theirs, hits=hits, groups=groups),
        slices=[SliceGains(part.column, part.value, of_part(part.rows)) for part in slices],
    )


def aligned(probabilities: Floats, labels: Sequence[str], wanted: Sequence[str]) -> Floats:
    """Columns in the order of `wanted`; a label that the model does not know has probability 0, and is never given."""
    known = {label: place for place, label in enumerate(labels)}
    places, unknown = [known.get(label, 0) for label in wanted], [label not in known for label in wanted]
    found, given = np.where(unknown, 0.0, probabilities[:, places]), answers_in(probabilities)
    return found if given is None else with_answers(found, given[:, places] & ~np.array(unknown))


def length_slices(
    lengths: Sequence[float] | NDArray[Any], training: Sequence[float] | NDArray[Any], *, column: str, unit: str
) -> list[Slice]:
    """Held-out rows by their length, in quarters of the training rows' lengths: fewer where lengths are equal."""
    edges = np.unique(np.quantile(training, [0.25, 0.5, 0.75], method="inverted_cdf"))
    place = np.searchsorted(edges, lengths, side="left")
    names = [f"up to {edge:g} {unit}" for edge in edges] + [f"above {edges[-1]:g} {unit}"]
    return [Slice(column, name, place == number) for number, name in enumerate(names) if (place == number).any()]


def value_slices(column: str, values: Sequence[str]) -> list[Slice]:
    """One slice for each value of a column."""
    known = np.array(values)
    return [Slice(column, value, known == value) for value in sorted(set(values))]
