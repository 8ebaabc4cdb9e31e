"""A temperature for a model's probabilities, fitted on rows that it did not learn from."""

from collections.abc import Callable

import numpy as np

from graftline.evaluation.metrics import Floats, Integers

UNCHANGED = 1.0


def temperature_of_one_label(logits: Floats, targets: Integers) -> float:
    """That with the lowest log loss; 1 where none has it."""
    from scipy.special import softmax

    true = logits[np.arange(len(targets)), targets]
    if (true >= logits.max(1)).all():
        return UNCHANGED
    return _lowest_loss(lambda inverse: float(((softmax(inverse * logits, axis=1) * logits).sum(1) - true).mean()))


def temperature_of_several_labels(logits: Floats, targets: Integers) -> float:
    """One for all labels, with the lowest log loss; 1 where none has it."""
    from scipy.special import expit

    if (np.where(targets > 0, logits, -logits) >= 0).all():
        return UNCHANGED
    return _lowest_loss(lambda inverse: float(((expit(inverse * logits) - targets) * logits).mean()))


def no_temperature(_outputs: Floats, _targets: Floats) -> float:
    """Numbers have none."""
    return UNCHANGED


def _lowest_loss(slope: Callable[[float], float]) -> float:
    """The temperature by which raw outputs are divided so that their log loss is lowest.

    `slope` tells how the mean log loss changes with the inverse temperature: expected minus true output. One
    temperature for the whole model, also where each label has a probability of its own: no label changes by it (Guo et
    al. 2017, arXiv 1706.04599, section 4.2).
    Returns: 1 where the outputs tell nothing, so that each higher one would be better. Where every row is right, each
    lower one would be: that is for the caller to look at.
    """
    from scipy.optimize import brentq

    if slope(0.0) >= 0:
        return UNCHANGED
    # The loss is convex in the inverse temperature, so its slope is zero in one place only.
    low = high = 1.0
    while slope(low) > 0:
        low /= 2
    while slope(high) < 0:
        high *= 2
    return 1 / low if low == high else 1 / float(brentq(slope, low, high, xtol=1e-12, rtol=1e-12))
