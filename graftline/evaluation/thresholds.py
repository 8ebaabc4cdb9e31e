"""A threshold for each label, so that rare ones are given where that pays: from probabilities, checked by true labels.

What is searched on the few rows that have a rare label fits their noise. So the thresholds are those with the highest
F1 that the probabilities themselves expect, and the labels of the rows only decide whether they are taken.
"""

import numpy as np

from graftline.evaluation.given import THRESHOLD, Given
from graftline.evaluation.metrics import Floats, Integers, f1_of

Thresholds = tuple[float, ...]
# A label that fewer rows have keeps the usual threshold: they could not say whether another one is better.
LEAST_ROWS = 3
# Gains below it are rounding.
LEAST_GAIN = 1e-9
# The least probability that counts, and the least factor.
TINY = 1e-9
# So often each label has its turn at most; it ends earlier where nothing is gained any more.
SWEEPS = 10


def no_thresholds(_predictions: Floats, _targets: Integers) -> Thresholds:
    """Numbers have no labels to give."""
    return ()


def thresholds_of_several_labels(probabilities: Floats, targets: Integers) -> Thresholds:
    """For (rows, labels) probabilities against zeros and ones: half of each label's highest expected F1.

    From there on to give a label is what raises its F1 (Lipton, Elkan and Naryanaswamy 2014, arXiv 1402.1892, theorem
    1). A label for which that does not raise the F1 of these rows keeps 0.5.
    """
    each = zip(probabilities.T, targets.T > 0, strict=True)
    return tuple(_of_label(of_label, there) for of_label, there in each)


def _of_label(probabilities: Floats, there: Given) -> float:
    if there.sum() < LEAST_ROWS:
        return THRESHOLD
    falling = np.sort(probabilities)[::-1]
    given = np.arange(1, len(falling) + 1)
    half = float(f1_of(np.cumsum(falling), given + falling.sum()).max() / 2)
    usual, other = (_f1(probabilities >= threshold, there) for threshold in (THRESHOLD, half))
    return half if other > usual + LEAST_GAIN else THRESHOLD


def thresholds_of_one_label(probabilities: Floats, targets: Integers) -> Thresholds:
    """For (rows, labels) probabilities against places of labels: those with the highest expected macro-F1.

    The label whose probability is the largest multiple of its threshold is given; weighed probabilities are the form
    of the best answers for such scores (Narasimhan et al. 2015, arXiv 1501.00287). The weights are found label by
    label, in turns, from equal ones. Where they do not raise the macro-F1 of these rows all thresholds are equal. They
    add up to 1, so that of two labels each is given from its own threshold on.
    """
    labels = probabilities.shape[1]
    common = np.flatnonzero(np.bincount(targets, minlength=labels) >= LEAST_ROWS)
    weights, reached = np.ones(labels), -1.0
    for _ in range(SWEEPS):
        before = reached
        for label in common:
            factor, expected = _best_factor(probabilities, weights, int(label))
            if expected > reached + LEAST_GAIN:
                weights[label] *= factor
                reached = expected
        if reached == before:
            break
    one_hot = np.eye(labels, dtype=bool)
    usual, other = (_f1(one_hot[each.argmax(1)], one_hot[targets]) for each in (probabilities, probabilities * weights))
    inverse = 1 / weights if other > usual + LEAST_GAIN else np.ones(labels)
    return tuple((inverse / inverse.sum()).tolist())


def _best_factor(probabilities: Floats, weights: Floats, label: int) -> tuple[float, float]:
    """By what the weight of a label has to be multiplied for the highest expected macro-F1, and how high that is."""
    weighted, rows = probabilities * weights, np.arange(len(probabilities))
    own, expected = weighted[:, label].copy(), probabilities.sum(0)
    weighted[:, label] = -1.0
    others = weighted.argmax(1)
    # From this factor on a row is given the label; with the rows in this order, one after the other.
    factors = np.clip(weighted[rows, others] / np.maximum(own, TINY), TINY, 1 / TINY)
    order = np.argsort(factors, kind="stable")
    factors = factors[order]
    without, lost = _without(others[order], probabilities[order, others[order]], expected)
    gained = f1_of(np.cumsum(probabilities[order, label]), rows + 1 + expected[label])
    f1 = without + np.concatenate([[0.0], gained + lost])
    f1[1:-1][factors[:-1] == factors[1:]] = -np.inf  # equal rows are given it together
    best = int(f1.argmax())
    around = np.concatenate([factors[:1] / 2, factors, factors[-1:] * 2])
    return float(np.sqrt(around[best] * around[best + 1])), float(f1[best] / len(weights))


def _without(answers: Integers, right: Floats, expected: Floats) -> tuple[float, Floats]:
    """The sum of all labels' F1, and how it changes as row after row loses its answer: (rows,).

    Of each row what is answered and how probable that is; of each label how many rows are `expected` to have it.
    """
    labels = len(expected)
    counts = np.bincount(answers, minlength=labels)
    sums = np.bincount(answers, right, labels).astype(float)
    order = np.argsort(answers, kind="stable")
    of, each = answers[order], right[order]
    place = np.arange(len(of)) - (np.cumsum(counts) - counts)[of]
    left = sums[of] - (np.cumsum(each) - each - (np.cumsum(sums) - sums)[of])
    before = f1_of(left, counts[of] - place + expected[of])
    after = f1_of(left - each, counts[of] - place - 1 + expected[of])
    change = np.empty(len(of))
    change[order] = after - before
    return float(f1_of(sums, counts + expected).sum()), np.cumsum(change)


def _f1(given: Given, there: Given) -> float:
    """The mean over the labels, for answers and truth (rows, labels); of one label (rows,)."""
    right, either = (given & there).sum(0).astype(float), given.sum(0) + there.sum(0)
    return float(np.mean(f1_of(np.atleast_1d(right), np.atleast_1d(either))))
