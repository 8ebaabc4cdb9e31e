"""Evidence against "nothing has changed", multiplied from look to look, and when it is enough for an alarm.

Each signal is a game that nobody wins in the long run as long as nothing changes: at every look a stake is multiplied
by what a bet pays, on average at most 1. By Ville's inequality (1939) the chance that a capital of 1 ever grows to 1/a
is at most a, over any number of looks and whenever one stops: Ramdas, Grünwald, Vovk and Shafer 2023, Statistical
Science 38(4). The change may come at any look, so only part of the capital is at stake: a fraction of what sleeps
wakes at each look (a mixture over the look at which the change begins, as in Vovk's sleepy jumper, arXiv 2011.03313).

Signals depend on one another, so each has its own share of the error budget (a union bound, right under any
dependence): a signal of weight w raises an alarm at 1/(w a). One more share is that of the promise which true scores
are compared with: held-out rows may have been lucky.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from graftline.evaluation.metrics import Floats

# Of false alarms in a year of looks at one champion, all signals together.
YEARLY_CHANCE = 0.05
LOOKS_A_YEAR = 365
# Which part of what sleeps wakes at a look. Of 1/30, 1/100 and 1/365 the middle one finds changes of the first day and
# of the hundredth about equally soon: where p-values become squares of uniform ones, in 29 and 28 looks, the first in
# 24 and 31 (and from the 300th look on in 55 instead of 34), the last in 33 and 29.5 (medians of 2,000 years).
WAKING = 0.01
# A bet with exponent k pays k p^(k - 1) for a p-value, which is 1 on average (Vovk and Wang 2021, equation 2): small
# ones bet on strong evidence of a few days, large ones on weak evidence of many.
EXPONENTS = (0.1, 0.3, 0.6)
# Beyond it nothing changes but that numbers overflow.
MOST_CAPITAL = 1e30

Name = TypeVar("Name", bound=str)


@dataclass(frozen=True)
class Evidence:
    """The capital of one signal's game."""

    sleeping: float = 1.0
    at_stake: tuple[float, ...] = ()
    """On each bet."""

    @property
    def capital(self) -> float:
        """How many times the capital of the beginning."""
        return self.sleeping + sum(self.at_stake)

    def after(self, pays: Sequence[float]) -> "Evidence":
        """The next look's, where each bet pays this much."""
        waking = self.sleeping * WAKING
        stakes = self.at_stake or (0.0,) * len(pays)
        grown = [
            min((stake + waking / len(pays)) * paid, MOST_CAPITAL) for stake, paid in zip(stakes, pays, strict=True)
        ]
        return Evidence(self.sleeping - waking, tuple(grown))


def pays_for(p: float) -> tuple[float, ...]:
    """What each bet pays for a p-value."""
    return tuple(float(exponent * p ** (exponent - 1)) for exponent in EXPONENTS)


def needed(weight: float, chance: float = YEARLY_CHANCE) -> float:
    """The capital at which a signal with this share of the budget raises an alarm."""
    return 1 / (weight * chance)


def budget_share(signals: Sequence[str]) -> float:
    """The share of the budget of each signal, and of the promise."""
    return 1 / (len(signals) + 1)


def weights(signals: Sequence[Name]) -> Mapping[Name, float]:
    """An equal share of the budget for each."""
    return dict.fromkeys(signals, budget_share(signals))


def capitals(p: Floats) -> Floats:
    """The capital after each look, from p-values (years, looks) of many years at once: the same shape."""
    sleeping, stakes = 1.0, np.zeros((len(p), len(EXPONENTS)))
    exponents, grown = np.array(EXPONENTS), np.empty_like(p)
    for look in range(p.shape[1]):
        waking = sleeping * WAKING
        sleeping -= waking
        paid = exponents * p[:, look, None] ** (exponents - 1)
        stakes = np.minimum((stakes + waking / len(exponents)) * paid, MOST_CAPITAL)
        grown[:, look] = sleeping + stakes.sum(1)
    return grown
