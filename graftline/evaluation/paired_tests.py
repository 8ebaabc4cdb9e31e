"""Tests of two models on the same rows: what was shown, what could have been shown, and how many rows would do it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, norm, t

from graftline.evaluation.bootstrap import Score
from graftline.evaluation.groups import Grouped, Likeness, grouped, least_groups
from graftline.evaluation.metrics import Floats, Integers

# A plan that needs more rows than this is none.
MOST_ROWS = 1_000_000_000
# How many standard deviations of the number of discordant rows the power looks at on either side.
DEVIATIONS = 8


@dataclass(frozen=True)
class Gains:
    """How much better one model does than another on the same rows, row by row."""

    rows: int
    mean: float
    deviation: float
    """Standard deviation of the rows' gains."""
    better: int
    worse: int
    """On how many rows the first model does better and worse."""
    hits: bool
    """Whether a row is right or wrong, so that its gain is 1, 0 or -1."""
    grouped: Grouped | None = None
    """The same group by group, where rows of one group are not independent."""

    @property
    def discordance(self) -> float:
        """Share of the rows on which the two differ."""
        return (self.better + self.worse) / self.rows

    @property
    def design_effect(self) -> float:
        """How many times as many rows are needed as of independent ones."""
        return self.grouped.design_effect if self.grouped else 1.0

    @property
    def p(self) -> float:
        """The exact two-sided p value of gains that are hits."""
        if self.grouped is None:
            return mcnemar(self.better, self.worse)
        return 1.0 if self.grouped.p is None else self.grouped.p


def gains(
    first: Floats, second: Floats, *, hits: bool, groups: Integers | None = None, like: Likeness | None = None
) -> Gains:
    """The gains from each row's quality under two models: (rows,) each. Of no rows there are none.

    Rows with the same number in `groups` are not independent; of `like` see `grouped`.
    """
    each = np.asarray(first, dtype=float) - second
    deviation = float(each.std(ddof=1)) if len(each) > 1 else 0.0
    mean = float(each.mean()) if len(each) else 0.0
    by_group = None if groups is None else grouped(each, groups, hits=hits, like=like)
    return Gains(len(each), mean, deviation, int((each > 0).sum()), int((each < 0).sum()), hits, by_group)


def mcnemar(better: int, worse: int) -> float:
    """The exact two-sided p value of McNemar's test: whether discordant rows fall to both sides alike.

    Exact at every number of discordant rows, where the chi-squared form needs about 25 of them (McNemar 1947).
    """
    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


@lru_cache(maxsize=100_000)
def mcnemar_power(rows: int, *, difference: float, discordance: float, level: float) -> float:
    """The chance that exact McNemar at a two-sided `level` shows a true accuracy `difference` above 0 as such.

    Summed over how many of the `rows` may turn out discordant, so it needs no normal approximation. Two models that
    differ by `difference` are discordant on at least as many rows.
    """
    discordance = min(1.0, max(discordance, difference))
    middle, spread = rows * discordance, DEVIATIONS * math.sqrt(rows * discordance * (1 - discordance)) + 1
    pairs = np.arange(max(0, math.floor(middle - spread)), min(rows, math.ceil(middle + spread)) + 1)
    # The fewest better rows whose one-sided p value is at most half of the level.
    needed = binom.isf(level / 2, pairs, 0.5) + 1
    shown = binom.sf(needed - 1, pairs, (1 + difference / discordance) / 2)
    return float((binom.pmf(pairs, rows, discordance) * shown).sum())


@lru_cache(maxsize=100_000)
def rows_for_mcnemar(*, difference: float, discordance: float, level: float, power: float) -> int:
    """How many rows exact McNemar needs to show a true accuracy `difference` with this `power`."""

    def falls_short(rows: int) -> bool:
        return mcnemar_power(rows, difference=difference, discordance=discordance, level=level) < power

    few, many = 0, max(8, _rows_by_the_normal_law(difference, max(discordance, difference), level, power))
    while falls_short(many) and many < MOST_ROWS:
        few, many = many, many + max(8, many // 8)
    return _first(lambda rows: not falls_short(rows), few, many)


@lru_cache(maxsize=100_000)
def smallest_difference(rows: int, *, discordance: float, level: float, power: float) -> float | None:
    """The smallest true accuracy difference that exact McNemar shows on `rows` rows with this `power`, if any.

    To four digits, rounded up.
    """
    steps = 10_000
    if mcnemar_power(rows, difference=1.0, discordance=1.0, level=level) < power:
        return None

    def shows(step: int) -> bool:
        return mcnemar_power(rows, difference=step / steps, discordance=discordance, level=level) >= power

    return _first(shows, 0, steps) / steps


def rows_in_groups(rows: int, seen: Gains, *, level: float, power: float) -> int:
    """How many rows in groups such as those `seen` show what so many independent ones do."""
    if seen.grouped is None:
        return rows
    groups, differ = seen.grouped.groups, seen.grouped.better + seen.grouped.worse
    return rows_for_groups(
        rows,
        size=seen.rows / groups,
        design_effect=seen.design_effect,
        level=level,
        power=power,
        differ=differ / groups if differ else 1.0,
    )


def rows_for_groups(
    rows: int, *, size: float, design_effect: float, level: float, power: float, differ: float = 1.0
) -> int:
    """How many rows in groups of this mean `size` show what so many independent ones do.

    As many times as many as the design effect says, and some more where these are few groups; at least those of as many
    groups as the level takes, if two models differ in this share of them.
    """
    least = max(2, math.ceil(least_groups(level) / differ))

    def enough(groups: int) -> bool:
        return rows * design_effect * _few_groups(groups, level, power) <= groups * size

    many = least
    while not enough(many) and many * size < MOST_ROWS:
        many *= 2
    return min(MOST_ROWS, math.ceil(_first(enough, least - 1, many) * size))


def independent_rows(seen: Gains, *, level: float, power: float) -> int:
    """How many independent rows show as much as those `seen`."""
    if seen.grouped is None:
        return seen.rows
    if seen.grouped.groups < 2 or seen.grouped.least_p > level:
        return 0
    return math.floor(seen.rows / seen.design_effect / _few_groups(seen.grouped.groups, level, power))


def _few_groups(groups: int, level: float, power: float) -> float:
    """How many times as many rows are needed because their groups' spread is not known, but measured on so many."""
    reach = norm.isf(1 - power)
    return float(((t.isf(level / 2, groups - 1) + reach) / (norm.isf(level / 2) + reach)) ** 2)


def rows_for_interval(score: Score, rows: int, *, distance: float, level: float, power: float) -> int:
    """How many rows put a `distance` outside of the two-sided interval with this `power`, if `rows` gave `score`.

    Its width shrinks with the square root of the rows, and the estimate varies as the interval says.
    """
    return _rows_for_error(score.error, rows, distance=distance, level=level, power=power)


def rows_for_gains(seen: Gains, *, distance: float, level: float, power: float) -> int:
    """How many rows show with this `power` that gains like those `seen` are nearer than `distance` to their mean."""
    # One discordant row more than seen: none among few rows does not mean that there are none.
    of_hits = math.sqrt((seen.discordance + 1 / seen.rows) / seen.rows * seen.design_effect)
    error = of_hits if seen.hits else _error(seen)
    return _rows_for_error(error, seen.rows, distance=distance, level=level, power=power)


def margin_p_values(seen: Gains, *, margin: float) -> tuple[float, float]:
    """One-sided p values: that the mean gain is not above -`margin`, and that it is not below it.

    A small first one shows that nothing worse than the margin was lost; a small second one that more was. For hits by
    Tango's score test of paired proportions (Statistics in Medicine 1998, 17:891), which keeps its level with few
    discordant rows, where Wald's does not; for other gains by Student's t. Of grouped rows the variance is as many
    times as large as the design effect says (Rao and Scott 1992, Biometrics 48:577), and the groups are so many that
    Student's t looks it up.
    """
    if seen.hits:
        z = tango_z(seen.better, seen.worse, seen.rows, margin=margin)
        if seen.grouped is None:
            return float(norm.sf(z)), float(norm.cdf(z))
        if seen.grouped.groups < 2:
            return 1.0, 1.0
        place = z / math.sqrt(seen.design_effect)
        return float(t.sf(place, seen.grouped.groups - 1)), float(t.cdf(place, seen.grouped.groups - 1))
    error, distance = _error(seen), seen.mean + margin
    if not error > 0:
        # Every row gained the same.
        return (0.0, 1.0) if distance > 0 else (1.0, 0.0 if distance < 0 else 1.0)
    place, free = distance / error, (seen.grouped.groups if seen.grouped else seen.rows) - 1
    if free < 1:
        return 1.0, 1.0
    return float(t.sf(place, free)), float(t.cdf(place, free))


def tango_z(better: int, worse: int, rows: int, *, margin: float) -> float:
    """Tango's score for a difference of paired proportions of -`margin`; without a margin McNemar's."""
    theta = -margin
    # The share of worse rows that is most likely if the difference is theta: a root of a x² + b x + c.
    a = 2 * rows
    b = -better - worse + (2 * rows - better + worse) * theta
    c = -worse * theta * (1 - theta)
    likely = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = rows * (2 * likely + theta * (1 - theta))
    distance = better - worse - rows * theta
    if not variance > 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected for their number (Holm 1979): one false claim among all is as rare as the level says."""
    values: NDArray[np.float64] = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]


def _error(seen: Gains) -> float:
    return seen.deviation / math.sqrt(seen.rows) * math.sqrt(seen.design_effect)


def _rows_for_error(error: float, rows: int, *, distance: float, level: float, power: float) -> int:
    needed = rows * ((norm.isf(level / 2) + norm.isf(1 - power)) * error / distance) ** 2
    # Also of a score that is no number.
    return max(1, math.ceil(needed)) if needed < MOST_ROWS else MOST_ROWS


def _rows_by_the_normal_law(difference: float, discordance: float, level: float, power: float) -> int:
    """Connor's formula (Biometrics 1987, 43:207), to begin the search with."""
    first, second = float(norm.isf(level / 2)), float(norm.isf(1 - power))
    reach = first * math.sqrt(discordance) + second * math.sqrt(max(0.0, discordance - difference**2))
    return min(MOST_ROWS, math.ceil((reach / difference) ** 2))


def _first(holds: Callable[[int], bool], below: int, at: int) -> int:
    """The first number after `below` from which on it holds, up to `at`, by halving."""
    while at - below > 1:
        middle = (below + at) // 2
        below, at = (below, middle) if holds(middle) else (middle, at)
    return at
