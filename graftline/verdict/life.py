"""The life of held-out rows: at which level each look at them is judged, so that all of them together rarely err.

The chance of promoting anything that is no better is given away look by look (alpha spending: Lan and DeMets 1983),
half of it early, half evenly over the planned looks. What a look really costs depends on the looks before it:
candidates that are compared with one champion on the same rows gain and lose on the same rows, and what earlier looks
did not show a similar one hardly shows by chance. So the level is solved for from the joint law of all looks under
"nothing is better": normal, with the correlations of the rows' gains (max-T: Westfall and Young 1993).

Each row has its own life. One that no look has seen brings its evidence whole; what a look may spend follows from how
many looks the rows have seen on average, and from what those really spent: a policy that was changed between looks
gives nothing away twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import norm

from graftline.evaluation.metrics import Floats
from graftline.evaluation.row_gains import RowGains, correlations, seen_share

# Half of the chance is spent early: a quarter of it by so many looks.
EARLY_HALF, EARLY_LOOKS = 0.5, 3
# Earlier looks than these count as independent of the present one, which errs on the safe side.
MOST_LOOKS = 400
# Simulated lives; the level of a look among hundreds is known to some hundredths of itself.
PATHS, SEED = 20_000, 18
# What is left where all was spent, as when the policy wants a smaller chance now: a share of the whole.
LEAST_LEFT = 1e-6
# By so much looks count as less alike than they are. Once there are more of them than rows, or groups, each is a sum
# of earlier ones, and what would be left to it alone is rounding errors.
APART = 1e-3
HIGHEST_BOUND = 12.0
# That of the level is some thousandths of it at most, far below the noise of the paths.
BOUND_ERROR = 1e-4


@dataclass(frozen=True)
class Look:
    """A comparison with a champion, and the two-sided level at which it was judged."""

    gains: RowGains
    level: float


@dataclass(frozen=True)
class Allowance:
    """What the next look may do."""

    level: float
    """Its two-sided level."""
    spent: float
    """Which share of the rows' evidence the looks before it have spent."""
    looks: float
    """How many of them the rows have seen, on average."""


def allowance(past: Sequence[Look], now: RowGains, *, chance: float, planned: int, most: float) -> Allowance:
    """The level of the next look at rows with these gains.

    `chance`: of a false promotion in the whole life; `planned`: looks; `most`: the level of a single look, which is
    never exceeded.
    """
    shares = [seen_share(look.gains, now) for look in past]
    seen = sum(shares)
    spent = spent_share(seen, planned)
    # Looks at other rows say nothing of these, however many they were.
    known = [(look, share) for look, share in zip(past, shares, strict=True) if share][-MOST_LOOKS:]
    life, alike, right = Life(), correlations([*(look.gains for look, _ in known), now]), 1.0
    for place, (look, share) in enumerate(known):
        right *= 1 - share * life.add(alike[place, :place], look.level / 2)
    left = max(chance - (1 - right), LEAST_LEFT * chance)
    level = life.level(alike[-1, :-1], min(room(seen, chance=chance, planned=planned), left))
    return Allowance(min(most, 2 * level), spent, seen)


def room(looks: float, *, chance: float, planned: int) -> float:
    """The chance with which the next look may err, given that none of so many before it did."""
    before, after = spent_share(looks, planned), spent_share(looks + 1, planned)
    return chance * (after - before) / (1 - chance * before)


def spent_share(looks: float, planned: int) -> float:
    """Which share of the chance so many looks spend: never all of it, however many they are."""
    return EARLY_HALF * looks / (looks + EARLY_LOOKS) + (1 - EARLY_HALF) * min(1.0, looks / planned)


class Life:
    """Looks that showed nothing, simulated as if nothing were better."""

    def __init__(self, paths: int = PATHS) -> None:
        self._noise = np.empty((paths, 16), order="F")
        self._triangle = np.empty((0, 0))
        self._silent = np.ones(paths)

    def level(self, alike: Floats, room: float) -> float:
        """The one-sided level at which the next look errs with the chance `room`, given that none before it did.

        `alike`: its correlations with the looks before: (looks,).
        """
        given = self._given(alike)

        def surplus(bound: float) -> float:
            return self._chance(given, bound) - room

        if surplus(0.0) <= 0:
            return 0.5
        if surplus(HIGHEST_BOUND) >= 0:
            return 0.0
        return float(norm.sf(brentq(surplus, 0.0, HIGHEST_BOUND, xtol=BOUND_ERROR)))

    def add(self, alike: Floats, level: float) -> float:
        """A look that was judged at this one-sided level.

        Returns: the chance that it errs, given that none before it did.
        """
        middle, room = self._given(alike)
        chance = self._chance((middle, room), float(norm.isf(level)))
        weights, count = self._weights(alike)[0], len(self._triangle)
        if count == self._noise.shape[1]:
            self._noise = np.asfortranarray(np.concatenate([self._noise, np.empty_like(self._noise)], axis=1))
        self._noise[:, count] = np.random.default_rng((SEED, count)).standard_normal(len(self._silent))
        self._silent = self._silent * (middle + room * self._noise[:, count] <= norm.isf(level))
        self._triangle = np.block([[self._triangle, np.zeros((count, 1))], [weights[None, :], np.array([[room]])]])
        return chance

    def _chance(self, given: tuple[Floats, float], bound: float) -> float:
        """That the next look is above its bound, given that none before was: 1 if no path is left to tell."""
        middle, spread = given
        silent = float(self._silent.sum())
        return float(self._silent @ ndtr((middle - bound) / spread)) / silent if silent else 1.0

    def _given(self, alike: Floats) -> tuple[Floats, float]:
        """Mean and deviation of the next look given those before it."""
        weights, room = self._weights(alike)
        return np.asarray(self._noise[:, : len(weights)] @ weights), room

    def _weights(self, alike: Floats) -> tuple[Floats, float]:
        """The next row of the correlations' Cholesky factor."""
        if not len(alike):
            return np.empty(0), 1.0
        weights = np.asarray(solve_triangular(self._triangle, (1 - APART) * alike, lower=True))
        return weights, float(np.sqrt(1 - weights @ weights))
