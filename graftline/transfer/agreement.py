"""Whether a score foretells what trainings come to: rank correlation with an interval, from finished trainings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.metrics import Floats

# Base models with a finished training, below which an order says nothing: four are in the right one by luck once in 24.
FEWEST_BASES = 5
RESAMPLES, CONFIDENCE = 1_000, 0.95


@dataclass(frozen=True)
class Agreement:
    """How well a score orders what trainings came to."""

    tau: float | None
    """Weighted Kendall tau, between -1 and 1; None where there is nothing to order."""
    low: float | None
    high: float | None
    points: int
    bases: int
    """How many different base models the points are of."""

    @property
    def means_something(self) -> bool:
        """Whether the whole interval is above 0, on enough base models."""
        return self.bases >= FEWEST_BASES and self.low is not None and self.low > 0


def agreement(
    foretold: Sequence[float] | Floats, came: Sequence[float] | Floats, bases: Sequence[str], *, seed: int = 0
) -> Agreement:
    """Weighted Kendall tau (Vigna 2015, doi 10.1145/2736277.2741088), in which the best count most, with an interval.

    Several trainings of one base model are not independent, so base models are drawn for the interval, each with all
    of its points (the cluster bootstrap); draws of one base model alone order nothing and say 0.
    """
    names = sorted(set(bases))
    scores, results = np.asarray(foretold, dtype=float), np.asarray(came, dtype=float)
    tau = _tau(scores, results) if len(names) > 1 else None
    if tau is None:
        return Agreement(None, None, None, len(scores), len(names))
    places = [np.flatnonzero(np.asarray(bases) == name) for name in names]
    random = np.random.default_rng(seed)
    drawn = [_tau_of([places[one] for one in random.integers(len(names), size=len(names))], scores, results)
             for _ in range(RESAMPLES)]  # fmt: skip
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Agreement(tau, float(low), float(high), len(scores), len(names))


def _tau_of(chosen: Sequence[NDArray[np.intp]], scores: Floats, results: Floats) -> float:
    rows = np.concatenate(chosen)
    return _tau(scores[rows], results[rows]) or 0.0


def _tau(scores: Floats, results: Floats) -> float | None:
    from scipy.stats import weightedtau

    if len(set(scores)) < 2 or len(set(results)) < 2:
        return None
    return float(weightedtau(scores, results).statistic)
