"""The permutation test of two samples, and why its p-values of many days may be multiplied.

Today's rows are compared with a draw from a pool: the held-out rows and all rows of earlier looks. If all of them are
exchangeable, then, whatever the pool holds, each choice of so many rows as today's is equally likely. So the p-value
has the same law given the pool as a bag, given all that comes later, and therefore given all earlier p-values, which
depend on the order inside of the pool only: p-values of different days are independent, though all of them share the
held-out rows (Vovk, Gammerman and Shafer 2005, theorem 8.1, there for one row at a time). With held-out rows that
stay fixed they would not be: unlucky held-out rows are unlucky every day.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.metrics import Floats

Membership = NDArray[np.float32]
"""Choices of today's rows among all: (rows, choices), 1 where a row is chosen."""
Statistic = Callable[[Membership], Floats]
"""How different the chosen rows are from the others: (choices,)."""

# Besag and Clifford 1991: with so many draws that are as extreme the p-value is known well enough, and most days
# without drift need some dozens of draws only.
ENOUGH_EXTREMES = 10
MOST_DRAWS = 9_999
# At once; the first is small since most tests end there.
FIRST_BATCH, BATCH = 50, 250


@dataclass(frozen=True)
class Permuted:
    """A permutation test."""

    statistic: float
    p: float
    draws: int


def permutation_test(
    statistic: Statistic,
    today: int,
    others: int,
    random: np.random.Generator,
    *,
    most_draws: int = MOST_DRAWS,
    enough: int = ENOUGH_EXTREMES,
) -> Permuted:
    """Whether the first `today` of all rows differ from the `others` behind them.

    The p-value is (1 + b) / (1 + B) with b of B draws as extreme, or where draws ended early, after `enough` extreme
    ones, that many / B (Besag and Clifford 1991): exact, whatever the rows are. Equal statistics are ordered by lot, so
    that the p-value has one law for all data, which is what makes those of different days independent.
    """
    rows = today + others
    members = np.zeros((rows, 1), dtype=np.float32)
    members[:today] = 1
    seen, mark = float(_ordered(statistic(members))[0]), random.random()
    extremes = draws = 0
    while draws < most_draws:
        size = min(BATCH if draws else FIRST_BATCH, most_draws - draws)
        drawn = _ordered(statistic(choices(today, rows, size, random)))
        # Rounding makes one choice differ from itself in another batch.
        near = np.isclose(drawn, seen, rtol=1e-5, atol=1e-9)
        as_extreme = np.where(near, random.random(size) > mark, drawn > seen)
        counted = extremes + np.cumsum(as_extreme)
        if counted[-1] >= enough:
            draws += int(np.argmax(counted >= enough)) + 1
            return Permuted(seen, enough / draws, draws)
        extremes, draws = int(counted[-1]), draws + size
    return Permuted(seen, (1 + extremes) / (1 + draws), draws)


def _ordered(statistics: Floats) -> Floats:
    """What is no number, as of rows that hold infinities, counts as less than any: as extreme as what is none, too."""
    return np.where(np.isnan(statistics), -np.inf, statistics)


def choices(today: int, rows: int, count: int, random: np.random.Generator) -> Membership:
    """So many choices of `today` rows, (rows, count), each of them equally likely."""
    members = np.zeros((count, rows), dtype=np.float32)
    members[:, :today] = 1
    return np.asarray(random.permuted(members, axis=1).T)
