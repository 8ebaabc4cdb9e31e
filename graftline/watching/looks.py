"""One look at what was served: today's rows beside the held-out ones and those of earlier looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.metrics import Floats
from graftline.transfer.permutations import ENOUGH_EXTREMES, MOST_DRAWS, Permuted, Statistic, permutation_test
from graftline.transfer.two_samples import Vectors, classifier_accuracy, kernel_distance
from graftline.watching.columns import rank_difference, share_difference
from graftline.watching.evidence import Evidence, needed, pays_for

Signal = Literal["features_distance", "features_classifier", "facts", "answers", "confidence", "score"]
# Of what is asked and of what is answered: as the events are named that follow.
INPUT_SIGNALS: tuple[Signal, ...] = ("features_distance", "features_classifier", "facts")
ANSWER_SIGNALS: tuple[Signal, ...] = ("answers", "confidence")
SCORE_SIGNALS: tuple[Signal, ...] = ("score",)
SIGNALS = (*INPUT_SIGNALS, *ANSWER_SIGNALS, *SCORE_SIGNALS)
# The rows of a day that are compared, and of the pool for each of them. More cost much and show little: what counts is
# repeated day by day.
MOST_ROWS, POOL_ROWS_EACH = 400, 4
# Fewer rows of a day wait for those of the next one.
LEAST_ROWS = 20


@dataclass(frozen=True, eq=False)
class Rows:
    """Inputs and answers as numbers, one row each."""

    facts: Floats
    """Cheap facts of the inputs: (rows, facts); NaN where a row lacks one."""
    answers: NDArray[np.bool_]
    """Which labels a row was answered with: (rows, labels); of a model that answers numbers (rows, 0)."""
    confidence: Floats
    """The largest probability (rows,), or the number that was answered; NaN where there is neither."""
    features: Vectors | None = None
    """What the model's head read: (rows, width)."""

    def __len__(self) -> int:
        return len(self.confidence)

    def take(self, places: "NDArray[np.int64]") -> "Rows":
        """Some of the rows."""
        features = None if self.features is None else self.features[places]
        return Rows(self.facts[places], self.answers[places], self.confidence[places], features)


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, with features only where all parts have them."""
    features = [part.features for part in parts if part.features is not None]
    return Rows(
        np.concatenate([part.facts for part in parts]),
        np.concatenate([part.answers for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate(features) if len(features) == len(parts) else None,
    )


def sample(rows: Rows, random: np.random.Generator, most: int = MOST_ROWS) -> Rows:
    """So many of the rows at most, each as likely as any other."""
    if len(rows) <= most:
        return rows
    return rows.take(np.sort(random.choice(len(rows), most, replace=False)))


def drift_of(
    today: Rows,
    pool: Rows,
    bandwidth: float,
    random: np.random.Generator,
    *,
    most_draws: int = MOST_DRAWS,
    enough: int = ENOUGH_EXTREMES,
) -> dict[Signal, Permuted]:
    """The test of each signal that these rows have, `today` against a draw from the `pool`."""
    others = sample(pool, random, POOL_ROWS_EACH * len(today))
    rows = joined([today, others])
    statistics: dict[Signal, Statistic] = {}
    if rows.features is not None:
        statistics["features_distance"] = kernel_distance(rows.features, bandwidth)
        statistics["features_classifier"] = classifier_accuracy(rows.features, random)
    if rows.facts.shape[1]:
        statistics["facts"] = rank_difference(rows.facts)
    if rows.answers.shape[1]:
        statistics["answers"] = share_difference(rows.answers)
    if not np.isnan(rows.confidence).all():
        statistics["confidence"] = rank_difference(rows.confidence[:, None])
    return {
        name: permutation_test(statistic, len(today), len(others), random, most_draws=most_draws, enough=enough)
        for name, statistic in statistics.items()
    }


@dataclass(frozen=True)
class Watched:
    """A signal after a look."""

    evidence: Evidence = field(default_factory=Evidence)
    alarm: int | None = None
    """The number of the look that raised it; it stands for as long as the champion, or the year of looks, does."""

    def after(self, pays: Sequence[float], look: int, weight: float) -> "Watched":
        """The same signal after the next look."""
        grown = replace(self, evidence=self.evidence.after(pays))
        if self.alarm is None and grown.evidence.capital >= needed(weight):
            return replace(grown, alarm=look)
        return grown


def after_look(
    before: Mapping[Signal, Watched],
    tested: Mapping[Signal, Permuted],
    score_pays: Sequence[float] | None,
    look: int,
    weights: Mapping[Signal, float],
) -> dict[Signal, Watched]:
    """All signals after a look; what it could not see stays as it was."""
    pays: dict[Signal, Sequence[float]] = {name: pays_for(one.p) for name, one in tested.items()}
    if score_pays is not None:
        pays["score"] = score_pays
    known = {name: before.get(name, Watched()) for name in SIGNALS}
    return {
        name: known[name].after(pays[name], look, weights[name]) if name in pays else known[name] for name in SIGNALS
    }
