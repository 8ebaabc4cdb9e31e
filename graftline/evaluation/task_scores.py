"""The part of a task that scores have: how held-out rows are scored, resampled and looked at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.examination import Answers, Examination
from graftline.evaluation.group_rates import Rate
from graftline.evaluation.linear_models import Learn
from graftline.evaluation.metrics import Floats, Integers, MetricsOf
from graftline.evaluation.scoring import Scoring

Targets = NDArray[Any]
"""As numbers: (rows,), or (rows, outputs)."""
SameAnswer = Callable[[Floats, Floats, float], NDArray[np.bool_]]
Said = tuple[str, float | None]
"""An answer in words, and its probability where it has one."""


def unstratified(_targets: Targets) -> None:
    return None


@dataclass(frozen=True)
class TaskScores:
    """All that sets the scores of one task apart from those of the others."""

    scoring: Scoring
    metrics: MetricsOf
    quality: Callable[[Floats, Targets], Floats]
    """How good each row's prediction is: (rows,), higher is better, the mean near the primary score."""
    temperature: Callable[[Floats, Targets], float]
    """The divisor of raw outputs (rows, outputs) with the lowest log loss, fitted on rows not learned from."""
    thresholds: Callable[[Floats, Targets], tuple[float, ...]]
    """The thresholds of the labels that give rare ones where that pays, from rows not learned from; none of numbers."""
    examine: Callable[[Answers], Examination]
    """A look at predictions beside the truth."""
    without_model: Callable[[Targets, int, Sequence[str]], tuple[str, Floats]]
    """The answer for so many rows without looking at them, from the training rows' targets and the labels: in words,
    and as predictions."""
    learn: Learn
    """The linear model on words."""
    moves: Callable[[Floats, Floats, float], Floats]
    """How far each row's answer moved, from predictions before and after, and the training targets' spread: (rows,)."""
    is_same: SameAnswer
    """Whether each row's answer is the same, from the same three: (rows,)."""
    rates: Callable[[Floats, Targets], Mapping[str, Rate]]
    """The rates that are compared between groups, by name."""
    wrongness: Callable[[Floats, Targets], Floats]
    """How surely wrong each row's answer is: (rows,). Below 0 it is right, the surer the lower; of numbers it is how
    far they are off."""
    said: Callable[[Floats, Sequence[str]], Said]
    """One row's predictions (outputs,) as an answer for a reader, with the labels."""
    strata: Callable[[Targets], Integers | None] = unstratified
    """The strata that resamples keep; None where they draw from all rows."""
    hits: bool = False
    """Whether a row is right or wrong, so that exact McNemar can decide."""
    graded: bool = False
    """Whether answers are nearer or farther instead of right or wrong."""
