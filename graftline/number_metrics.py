"""Scores of predicted numbers."""

import numpy as np

from graftline.errors import GraftlineError
from graftline.metrics import Floats, Metric, mean_of, require_rows

# A smaller variance than this share of the mean square is the rounding error of equal numbers; and so is a smaller
# distance from the mean than this share of it.
NO_SPREAD, ROUNDING = 1e-12, 1e-14


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
