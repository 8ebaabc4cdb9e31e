"""How far two sets of rows lie apart in what a base model makes of them, beside two parts of one set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from graftline.evaluation.bootstrap import CONFIDENCE
from graftline.evaluation.metrics import Floats, Integers
from graftline.evaluation.paired_tests import holm
from graftline.transfer.frechet import frechet_distance
from graftline.transfer.permutations import Membership, Statistic, choices
from graftline.transfer.two_samples import Vectors, classifier_error, kernel_distance, median_distance

Measure = Literal["mmd", "a_distance", "frechet"]
MEASURES: Mapping[Measure, str] = {"mmd": "MMD²", "a_distance": "proxy A-distance", "frechet": "Fréchet distance"}
# Of each set; more show smaller differences, which matter less and less.
MOST_ROWS = 500
# Fewer rows show nothing but large differences.
LEAST_ROWS = 20
# Two parts of one set are taken for different so often.
ALARMS = 0.05
# With so many other divisions of the same rows a p-value of 5 % is met exactly, and 0.5 % is the smallest there is.
DIVISIONS, AT_ONCE = 199, 50


@dataclass(frozen=True)
class Distance:
    """One measure of how far two sets of rows lie apart."""

    value: float
    usual_low: float
    usual_high: float
    """Where the value lies for nine in ten random divisions of the same rows into sets as large as these: the lowest
    and the highest twentieth are cut off."""
    p: float
    """How often such a division is as far apart: exact, by permutation."""

    @property
    def is_alarm(self) -> bool:
        """Whether they are farther apart than two parts of one set are, but for one time in twenty."""
        return self.p <= ALARMS


@dataclass(frozen=True)
class Distances:
    """All measures of two sets of rows, of those that were compared."""

    source_rows: int
    target_rows: int
    mmd: Distance
    """Unbiased, squared, with the median distance as the kernel's bandwidth: below 0 means nothing but 0."""
    a_distance: Distance
    """2 (1 - 2 error) of a linear classifier that is asked which set a row is of: 0 if it cannot tell, 2 if always.
    Ben-David et al. 2010, doi 10.1007/s10994-009-5152-4."""
    frechet: Distance
    a_low: float
    a_high: float
    """The 95 % interval of the proxy A-distance."""

    @property
    def of(self) -> Mapping[Measure, Distance]:
        """By its name."""
        return {"mmd": self.mmd, "a_distance": self.a_distance, "frechet": self.frechet}

    @property
    def told_apart(self) -> float:
        """Which share of the rows the classifier assigns to the right set, where both are equally large."""
        return 0.5 + self.a_distance.value / 4

    @property
    def differ(self) -> bool:
        """Whether any measure says so; of equal sets all three together do in at most one case in twenty (Holm)."""
        return min(holm([one.p for one in self.of.values()])) <= ALARMS


def distances(
    source: Vectors,
    target: Vectors,
    *,
    seed: int,
    groups: tuple[Sequence[str], Sequence[str]] | None = None,
    divisions: int = DIVISIONS,
) -> Distances:
    """How far the rows of `target` (rows, width) lie from those of `source`, and how far two parts of one set would.

    Rows of one group are not independent, so groups are divided, whole: `groups` names those of the source's rows and
    of the target's.
    """
    random = np.random.default_rng(seed)
    vectors = np.concatenate([source, target]).astype(np.float32)
    units = _units(len(source), len(target), groups)
    members = _divided(units, is_target=np.arange(len(vectors)) >= len(source), count=divisions, random=random)
    error = classifier_error(vectors, random, units)
    statistics: Mapping[Measure, Statistic] = {
        "mmd": kernel_distance(vectors, median_distance(vectors[random.permutation(len(vectors))])),
        "a_distance": lambda chosen: 2 * (1 - 2 * error(chosen)),
        "frechet": frechet_distance(vectors),
    }
    found = {name: _beside_others(_in_parts(statistic, members)) for name, statistic in statistics.items()}
    independent = min(len(set(units[: len(source)])), len(set(units[len(source) :])))
    low, high = _interval(found["a_distance"].value, independent)
    return Distances(len(source), len(target), **found, a_low=low, a_high=high)


def some_rows(rows: int, random: np.random.Generator, most: int = MOST_ROWS) -> Integers:
    """The places of so many of the rows at most, in order, each as likely as any other."""
    return np.sort(random.choice(rows, min(rows, most), replace=False))


def _units(source: int, target: int, groups: tuple[Sequence[str], Sequence[str]] | None) -> Integers:
    """The number of what is divided whole, of each row: its group's part in its set, or the row itself."""
    if groups is None:
        return np.arange(source + target)
    named = [f"{side} {group}" for side, of_side in enumerate(groups) for group in of_side]
    return np.unique(named, return_inverse=True)[1].astype(np.int64)


def _divided(units: Integers, *, is_target: NDArray[np.bool_], count: int, random: np.random.Generator) -> Membership:
    """(rows, 1 + count): which rows are the target's, and which would be by other divisions of the units."""
    targets = len(np.unique(units[is_target]))
    others = choices(targets, len(np.unique(units)), count, random)[units]
    return np.concatenate([is_target[:, None].astype(np.float32), others], axis=1)


def _in_parts(statistic: Statistic, members: Membership) -> Floats:
    """Some divisions at a time: the classifier's scores of all of them at once take much memory."""
    parts = range(0, members.shape[1], AT_ONCE)
    return np.concatenate([statistic(members[:, start : start + AT_ONCE]) for start in parts])


def _beside_others(values: Floats) -> Distance:
    """The first value beside all others. Equal ones count as extreme."""
    value, others = float(values[0]), np.sort(values[1:][np.isfinite(values[1:])])
    near = np.isclose(others, value, rtol=1e-5, atol=1e-9)  # rounding makes one division differ from itself
    extreme = int((near | (others > value)).sum())
    low, high = np.quantile(others, [ALARMS, 1 - ALARMS])
    return Distance(value, float(low), float(high), (1 + extreme) / (1 + len(others)))


def _interval(a_distance: float, independent: int) -> tuple[float, float]:
    """By Wilson's interval of the error, on as many rows of either set as the smaller one has."""
    rows = 2 * independent
    wrong = round((0.5 - a_distance / 4) * rows)
    found = binomtest(min(max(wrong, 0), rows), rows).proportion_ci(CONFIDENCE, "wilson")
    return 2 * (1 - 2 * float(found.high)), 2 * (1 - 2 * float(found.low))
