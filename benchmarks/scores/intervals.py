"""The interval of a mean over seeds."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95


def half_interval(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Half of the 95 % interval of their mean by Student's t, which is about seeds; of one value there is none: nan."""
    if len(values) < 2:
        return math.nan
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))
