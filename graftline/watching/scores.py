"""True scores of rows whose labels came later: a confidence sequence, and evidence that they fell."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import rel_entr

from graftline.evaluation.metrics import Floats

# By how much the score may have fallen: each bet is the best one for one of these.
FALLS = (0.01, 0.03, 0.1, 0.3)
MOST_STAKED = 0.9
# The largest bet of the confidence sequence; its authors take 1/2 or 3/4.
LARGEST_BET = 0.5
MOST_LOGARITHM = 60.0


@dataclass(frozen=True)
class Bounds:
    """A mean with bounds that hold at all times together."""

    value: float
    low: float
    high: float


def confidence_sequence(values: Floats, chance: float) -> Bounds:
    """The newest bounds of the mean of values (rows,) between 0 and 1, in the order in which they came.

    The chance that the bounds are ever wrong is at most `chance`, however often one looks: the predictable plug-in
    empirical Bernstein sequence of Waudby-Smith and Ramdas 2024, JRSS B 86(1), theorem 2 with equation 15, arXiv
    2010.09686. All bounds so far are cut with one another.
    """
    if not len(values):
        return Bounds(float("nan"), 0.0, 1.0)
    count = np.arange(1, len(values) + 1)
    means = (0.5 + np.cumsum(values)) / (count + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2)) / (count + 1)
    # What is bet on a row, and expected of it, comes from the rows before it.
    earlier_means, earlier_variances = np.r_[0.5, means[:-1]], np.r_[0.25, variances[:-1]]
    bets = np.minimum(np.sqrt(2 * np.log(2 / chance) / (earlier_variances * count * np.log(1 + count))), LARGEST_BET)
    staked = np.cumsum(bets)
    centre = np.cumsum(bets * values) / staked
    costs = 4 * (values - earlier_means) ** 2 * (-np.log1p(-bets) - bets) / 4
    width = (np.log(2 / chance) + np.cumsum(costs)) / staked
    low, high = float((centre - width).max()), float((centre + width).min())
    return Bounds(float(values.mean()), max(low, 0.0), min(high, 1.0))


def lowest_mean(values: Floats, chance: float) -> float:
    """The least mean that rows like these (rows,), each between 0 and 1, can have: wrong with this chance at most.

    Source: Hoeffding 1963, theorem 1, equation 2.1, solved for the mean. It holds as well for the share of rows that is
    no farther off than the quantile of as many, whose law is the binomial one read backwards.
    """
    if not len(values) or (mean := float(values.mean())) <= 0:
        return 0.0
    known = np.log(1 / chance) / len(values)

    def too_far(low: float) -> float:
        return float(rel_entr(mean, low) + rel_entr(1 - mean, 1 - low) - known)

    return float(brentq(too_far, np.finfo(float).tiny, mean))


def pays_for_scores(values: Floats, promised: float) -> tuple[float, ...]:
    """What bets on "lower than promised" pay for a look's values (rows,), each between 0 and 1.

    On average at most 1 as long as every row's expected value, given the rows before it, is at least `promised`: the
    capital process of the same paper, section 4.
    """
    if not len(values) or not 0 < promised < 1:
        return (1.0,) * len(FALLS)
    # The best bet for rows that are right or wrong, if the score fell so far; more than the most would lose everything
    # by one row that is right.
    bets = [min(fall / (promised * (1 - promised)), MOST_STAKED / (1 - promised)) for fall in FALLS]
    logarithms = [float(np.log1p(bet * (promised - values)).sum()) for bet in bets]
    return tuple(float(np.exp(min(each, MOST_LOGARITHM))) for each in logarithms)
