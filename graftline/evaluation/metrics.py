"""Held-out scores, each with a bootstrap interval, also paired between two models."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graftline.errors import GraftlineError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# The usual number of equal-width bins for the expected calibration error (Guo et al. 2017, arXiv 1706.04599).
CALIBRATION_BINS = 15
# Smallest probability that the log loss looks at: one confident error must not make it infinite.
EPSILON = 1e-15
# How far above 1 rounding may carry a probability.
TOLERANCE = 1e-6


# A metric of weighted rows: (resamples, rows) counts to (resamples,) values.
Metric = Callable[[Floats], Floats]


class MetricsOf(Protocol):
    """The metrics of one model's predictions."""

    def __call__(self, predictions: Floats, targets: NDArray[Any], /) -> dict[str, Metric]: ...


def mean_of(values: Floats) -> Metric:
    """The mean of one value per row."""
    return lambda counts: np.asarray(counts @ values / counts.sum(1))


def f1_of(right: Floats, either: "Floats | Integers") -> Floats:
    """F1 of each label, from how often it is rightly given, and its rows and answers together; 0 without any."""
    return np.asarray(np.divide(2 * right, either, out=np.zeros_like(right), where=either > 0))


def calibration_bins(probabilities: Floats) -> Integers:
    """The bin of each probability."""
    return np.minimum((probabilities * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def reliability_of(confidence: Floats, right: NDArray[Any]) -> list[dict[str, float]]:
    """For each filled bin of `confidence`: its mean, the share that is `right`, and how many they are."""
    place = calibration_bins(confidence)
    return [
        {
            "confidence": float(confidence[place == number].mean()),
            "accuracy": float(right[place == number].mean()),
            "rows": int((place == number).sum()),
        }
        for number in np.unique(place)
    ]


def require_rows(rows: int) -> None:
    """Raises: GraftlineError if there are none."""
    if not rows:
        raise GraftlineError("there are no rows to score a model on; enlarge data.test_share")


def require_probabilities(values: Floats) -> None:
    """Raises: GraftlineError for no rows, or values that are no probabilities: a NaN would count as the first label."""
    if faulty := int((~((values >= 0) & (values <= 1 + TOLERANCE)).all(1)).sum()):
        raise GraftlineError(
            f"{faulty} of {len(values)} rows were given values that are no probabilities (NaN, or outside of 0 to 1),"
            " so the model cannot be scored; its weights are damaged or its training diverged: lower"
            " adaptation.learning_rate"
        )
    require_rows(len(values))
