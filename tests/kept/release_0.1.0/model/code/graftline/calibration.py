"""A temperature for a model's probabilities, fitted on rows that it did not learn from."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, softmax

from graftline.metrics import Floats
from graftline.settings import Task

UNCHANGED = 1.0


def fit_temperature(task: Task, outputs: Floats, targets: NDArray[Any]) -> float:
    """The temperature by which raw outputs (rows, outputs) are divided so that their log loss is lowest.

    One for the whole model, also where each label has a probability of its own: no label changes by it (Guo et al.
    2017, arXiv 1706.04599, section 4.2). `targets` are as in the task's metrics.
    Returns: 1 for numbers, and where no temperature is best: if every row is right, each lower one would be better
    still; if the outputs tell nothing, each higher one.
    """
    if task == "regression":
        return UNCHANGED
    slope = _slope_of_several(outputs, targets) if task == "multi_label" else _slope_of_one(outputs, targets)
    if _all_right(task, outputs, targets) or slope(0.0) >= 0:
        return UNCHANGED
    # The loss is convex in the inverse temperature, so its slope is zero in one place only.
    low = high = 1.0
    while slope(low) > 0:
        low /= 2
    while slope(high) < 0:
        high *= 2
    return 1 / low if low == high else 1 / float(brentq(slope, low, high, xtol=1e-12, rtol=1e-12))


def _slope_of_one(outputs: Floats, targets: NDArray[Any]) -> Callable[[float], float]:
    """How the mean log loss changes with the inverse temperature: expected minus true output."""
    true = outputs[np.arange(len(targets)), targets]
    return lambda inverse: float(((softmax(inverse * outputs, axis=1) * outputs).sum(1) - true).mean())


def _slope_of_several(outputs: Floats, targets: NDArray[Any]) -> Callable[[float], float]:
    return lambda inverse: float(((expit(inverse * outputs) - targets) * outputs).mean())


def _all_right(task: Task, outputs: Floats, targets: NDArray[Any]) -> bool:
    if task == "multi_label":
        return bool((np.where(targets > 0, outputs, -outputs) >= 0).all())
    return bool((outputs[np.arange(len(targets)), targets] >= outputs.max(1)).all())
