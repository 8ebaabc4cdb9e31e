"""Rows of one group (`data.group`) are not independent: what two models' gains show, group by group."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, norm, t

from graftline.evaluation.metrics import Floats, Integers

# Below so many groups nothing is promoted: whether their sums are as symmetric as the test takes them to be, and how
# much they differ, so few do not tell (Cameron and Miller 2015, Journal of Human Resources 50:317, section VI).
LEAST_GROUPS = 10
# Exactly up to so many additions, some seconds; beyond that there are so many groups that the normal law is as good.
MOST_ADDITIONS = 2_000_000_000


@dataclass(frozen=True)
class Grouped:
    """What the gains of grouped rows are group by group."""

    groups: int
    better: int
    worse: int
    """In how many groups the sum of the gains is above and below 0."""
    design_effect: float
    """How many times the variance of the mean gain is that of as many independent rows; never below 1."""
    p: float | None = None
    """Two-sided, of the exact test of the groups' sums, where a row is right or wrong."""

    @property
    def least_p(self) -> float:
        """The smallest p value that so many groups can show: if all that differ did so on one side."""
        return min(1.0, 2.0 ** (1 - self.better - self.worse))


def grouped(gains: Floats, groups: Integers, *, hits: bool, like: "Likeness | None" = None) -> Grouped:
    """Of rows' gains (rows,) and the numbers of their groups (rows,).

    `like`: how alike the rows of a group are elsewhere, of which these are a part.
    """
    _, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.bincount(places, weights=gains)
    effect = max(Likeness.of(gains, groups).effect, like.design_effect(sizes) if like else 1.0)
    p = sign_flips(np.rint(sums).astype(np.int64)) if hits else None
    return Grouped(len(sums), int((sums > 0).sum()), int((sums < 0).sum()), effect, p)


def group_sums(values: Floats, groups: Integers) -> Floats:
    """The sum of each group, in the order of the groups' numbers: (rows,) to (groups,)."""
    return np.asarray(np.bincount(np.unique(groups, return_inverse=True)[1], weights=values), dtype=np.float64)


def sign_flips(sums: Integers) -> float:
    """The exact two-sided p value of whole sums (groups,): how rarely turned signs bring their total as far from 0.

    If nothing is better, a group's sum is as likely as its negative, and no other group's depends on it (Fisher 1935,
    The Design of Experiments, section 21). Of groups of one row it is exact McNemar. Counted over all 2^groups ways
    by adding up their totals, so that small p values are as exact as large ones.
    """
    sizes, counts = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    # The total with turned signs is `total` minus twice the sizes of those turned: of these at most so many.
    total, turned = int(sizes @ counts), (int(sizes @ counts) - abs(int(sums.sum()))) // 2
    if len(sums) * turned > MOST_ADDITIONS:
        return float(2 * norm.sf(abs(int(sums.sum())) / math.sqrt(float(sizes.astype(float) ** 2 @ counts))))
    chances = np.ones(1)
    for size, count in sorted(zip(sizes.tolist(), counts.tolist(), strict=True), key=lambda one: -one[1]):
        chances = _with_turned(chances, size, count, turned)
    return min(1.0, 2 * float(chances[: turned + 1].sum())) if total else 1.0


def _with_turned(chances: Floats, size: int, count: int, turned: int) -> Floats:
    """The chance of each sum of turned sizes up to `turned`, with so many more groups of one size."""
    more = np.zeros(min(turned, len(chances) - 1 + size * count) + 1)
    for number, chance in enumerate(binom.pmf(np.arange(min(count, turned // size) + 1), count, 0.5)):
        part = chances[: len(more) - number * size]
        more[number * size : number * size + len(part)] += chance * part
    return more


@dataclass(frozen=True)
class Likeness:
    """How alike the gains within a group are."""

    correlation: float
    """Of two rows of one group, between 0 and 1; 1 where nothing is known of it."""
    effect: float
    """The design effect of the rows that it was measured on."""

    @classmethod
    def of(cls, gains: Floats, groups: Integers) -> "Likeness":
        """From the variance of the groups' sums beside that of the rows."""
        _, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        apart = gains - gains.mean() if len(gains) else gains
        rows, count, size = len(gains), len(sizes), _usual_size(sizes)
        if count < 2 or not apart.any():
            return cls(1.0, max(1.0, size))
        of_rows = float(apart @ apart) * rows / (rows - 1)
        of_groups = float((np.bincount(places, weights=apart) ** 2).sum()) * count / (count - 1)
        effect = max(1.0, of_groups / of_rows)
        return cls(min(1.0, (effect - 1) / (size - 1)) if size > 1 else 0.0, effect)

    def design_effect(self, sizes: Integers) -> float:
        """Of groups of these sizes (Kish 1965, Survey Sampling, section 5.4)."""
        return max(1.0, 1 + (_usual_size(sizes) - 1) * self.correlation)


def _usual_size(sizes: Integers) -> float:
    """The size of the group that a row is in, on average over the rows."""
    return float((sizes.astype(float) ** 2).sum() / sizes.sum()) if len(sizes) else 1.0


def tail_of(tail: float, groups: int) -> float:
    """The tail of the resamples at which an interval over so many groups really leaves out `tail`.

    Resamples of few groups vary too little, by their number less one, and their spread is not known well either: the
    interval is that much wider (Hesterberg 2015, The American Statistician 69:371, section 4.2).
    """
    return float(norm.sf(t.isf(tail, groups - 1) * math.sqrt(groups / (groups - 1))))


def corrected_p(p: float, groups: int) -> float:
    """The two-sided p value of resamples over so many groups, for the same two reasons."""
    return float(2 * t.sf(norm.isf(p / 2) * math.sqrt((groups - 1) / groups), groups - 1))


def least_groups(level: float) -> int:
    """How many groups must differ so that any outcome is shown at this two-sided level."""
    return max(1, math.ceil(1 - math.log2(level) - 1e-9))
