"""Scores of predicted numbers."""

import numpy as np

from graftline.errors import GraftlineError
from graftline.metrics import Floats, Integers, Metric, mean_of, require_rows

# A smaller variance than this share of the mean square is the rounding error of equal numbers; and so is a smaller
# distance from the mean than this share of it.
NO_SPREAD, ROUNDING = 1e-12, 1e-14
BINS = 10


def metrics_of_numbers(predictions: Floats, targets: Floats) -> dict[str, Metric]:
    """The scores of (rows, 1) numbers against (rows, 1) targets, as functions of how often each row counts.

    R² is the share of the targets' variance that is explained; of equal targets none can be, which is 0, or 1 if all
    predictions are right, as in scikit-learn.
    Raises: GraftlineError for no rows, and for predictions that are no finite numbers.
    """
    require_rows(len(predictions))
    if faulty := int((~np.isfinite(predictions)).sum()):
        raise GraftlineError(
            f"{faulty} of {len(predictions)} rows were given values that are no finite numbers, so the model cannot be"
            " scored; its weights are damaged or its training diverged: lower adaptation.learning_rate"
        )
    error = (predictions - targets)[:, 0]
    # Around their middle, so that squares of large numbers do not swallow small differences.
    around = targets[:, 0] - targets.mean()
    mean_squared = mean_of(error**2)

    def r2(counts: Floats) -> Floats:
        rows = counts.sum(1)
        size = counts @ around**2
        spread, left = size - (counts @ around) ** 2 / rows, counts @ error**2
        told_apart = spread > np.maximum(NO_SPREAD * size, (ROUNDING * targets.mean()) ** 2 * rows)
        explained = 1 - np.divide(left, spread, out=np.ones_like(left), where=told_apart)
        return np.asarray(np.where(told_apart | (left > 0), explained, 1.0))

    return {
        "r2": r2,
        "mean_absolute_error": mean_of(np.abs(error)),
        "root_mean_squared_error": lambda counts: np.sqrt(mean_squared(counts)),
    }


def in_quarters(predictions: Floats, targets: Floats) -> Integers:
    """How often each quarter of the actual values (rows) was predicted as each (columns): (4, 4)."""
    edges = np.quantile(targets, [0.25, 0.5, 0.75])
    places = 4 * np.searchsorted(edges, targets[:, 0]) + np.searchsorted(edges, predictions[:, 0])
    return np.bincount(places, minlength=16).reshape(4, 4).astype(np.int64)


def number_reliability(predictions: Floats, targets: Floats) -> list[dict[str, float]]:
    """For each tenth of the rows, from low to high predictions: mean prediction, mean actual value, rows."""
    return [
        {
            "confidence": float(predictions[rows].mean()),
            "accuracy": float(targets[rows].mean()),
            "rows": len(rows),
        }
        for rows in np.array_split(predictions[:, 0].argsort(kind="stable"), BINS)
        if len(rows)
    ]
