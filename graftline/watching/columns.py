"""Two-sample statistics on numbers and answers: ranks and shares."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from graftline.evaluation.metrics import Floats
from graftline.transfer.permutations import Membership, Statistic


def rank_difference(values: Floats) -> Statistic:
    """The largest difference in place or spread of any column (rows, columns), in standard errors.

    Both are linear in the ranks, as Wilcoxon's and Mood's, and are looked at together as Lepage 1971 does; the maximum
    over columns costs nothing since the permutation takes all of them along. A missing value (NaN) has a rank below
    all, and that it is missing is a column of its own.
    """
    scores = _scores(values)
    deviations = scores - scores.mean(0)
    variances = deviations.var(0, ddof=1) if len(scores) > 1 else np.zeros(deviations.shape[1])
    scaled = (deviations[:, variances > 0] / np.sqrt(variances[variances > 0])).astype(np.float32)

    def statistic(members: Membership) -> Floats:
        if not scaled.shape[1]:
            return np.zeros(members.shape[1])
        today, rows = float(members[:, 0].sum()), len(members)
        error = np.sqrt((rows - today) / (today * rows))
        return np.asarray(np.abs(scaled.T @ members / today / error).max(0), dtype=np.float64)

    return statistic


def share_difference(answers: NDArray[np.bool_]) -> Statistic:
    """Chi-square of the labels' shares, from which labels (columns) each row was answered with: (rows, labels)."""
    given = answers[:, answers.any(0)].astype(np.float32)
    shares = given.mean(0)

    def statistic(members: Membership) -> Floats:
        today = float(members[:, 0].sum())
        others = len(members) - today
        expected = (today * shares)[:, None]
        off = (given.T @ members - expected) ** 2
        # The other sample is off by as much, and has as many more rows.
        return np.asarray((off / np.maximum(expected, 1e-12)).sum(0) * (1 + today / others), dtype=np.float64)

    return statistic


def _scores(values: Floats) -> Floats:
    """Place and spread of each column's ranks, and what is missing."""
    missing = np.isnan(values)
    ranks = (rankdata(np.where(missing, -np.inf, values), axis=0) - 0.5) / max(len(values), 1) - 0.5
    return np.concatenate([ranks, ranks**2, missing[:, missing.any(0)]], axis=1)
