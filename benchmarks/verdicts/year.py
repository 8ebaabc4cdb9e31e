"""A year of retrainings on the same held-out rows, judged one after the other as the gate would."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import norm

from benchmarks.verdicts.models import SPREAD, STRENGTHS, Floats, Rows, compare_all, judge
from graftline.evaluation.paired_tests import mcnemar
from graftline.verdict.life import Allowance, Life, spent_share
from graftline.verdict.policy import Policy

Rule = Literal["ours", "each by itself", "promote if larger"]
RULES: tuple[Rule, ...] = ("ours", "each by itself", "promote if larger")


@dataclass(frozen=True)
class Year:
    """When a candidate was promoted, and how much better it truly was than the champion of that day."""

    promoted: Sequence[int]
    gains: Sequence[float]

    @property
    def first_false(self) -> int | None:
        """The first look that promoted what was no better."""
        return next((look for look, gain in zip(self.promoted, self.gains, strict=True) if gain <= 0), None)


class Models:
    """One model after the other for the same rows: their logits of the right label."""

    def __init__(self, rows: Rows, seed: tuple[int, ...]) -> None:
        self._random, self._rows = np.random.default_rng(seed), rows
        self._alike = np.array([kind.correlation() for kind in STRENGTHS])[rows.strength]
        self._shared = np.sqrt(self._alike) * self._random.standard_normal(len(rows.targets))

    def next(self, better_by: float) -> Floats:
        """(rows,)"""
        middle = np.asarray(norm.ppf([kind.accuracy + better_by for kind in STRENGTHS]))[self._rows.strength]
        own = np.sqrt(1 - self._alike) * self._random.standard_normal(len(self._shared))
        return np.asarray(SPREAD * (middle + self._shared + own))


def year(rows: Rows, better_by: Sequence[float], rule: Rule, policy: Policy, *, seed: tuple[int, ...]) -> Year:
    """Judge as many retrainings as there are true differences to the first champion, which has none."""
    models = Models(rows, seed)
    champion, its = models.next(0.0), 0.0
    life, seen = Life(), np.empty((0, len(rows.targets)))
    promoted, gains = [], []
    for look, gain in enumerate(better_by):
        candidate = models.next(gain)
        gained = (candidate > 0).astype(float) - (champion > 0)
        alike = _alike(seen, gained)
        allowed = _allowed(life, alike, look, policy) if rule == "ours" else None
        if _is_promoted(rows, candidate, champion, rule, policy, allowed):
            promoted.append(look)
            gains.append(gain - its)
            champion, its = candidate, gain
        if allowed:
            life.add(alike, allowed.level / 2)
            seen = np.concatenate([seen, gained[None] / (np.linalg.norm(gained) or 1.0)])
    return Year(promoted, gains)


def _alike(seen: Floats, gained: Floats) -> Floats:
    return np.asarray(seen @ gained / (np.linalg.norm(gained) or 1.0))


def _allowed(life: Life, alike: Floats, look: int, policy: Policy) -> Allowance:
    """As `allowance` says, of which every look saw all rows."""
    before, after = (spent_share(count, policy.planned_looks) for count in (look, look + 1))
    level = 2 * life.level(alike, policy.false_promotions * (after - before))
    return Allowance(min(policy.significance, level), before, look)


def _is_promoted(
    rows: Rows, candidate: Floats, champion: Floats, rule: Rule, policy: Policy, allowed: Allowance | None
) -> bool:
    ours, theirs = candidate > 0, champion > 0
    better, worse = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    if rule == "promote if larger":
        return better > worse
    # The gate asks this and more; a look that fails here need not be resampled.
    if better <= worse or mcnemar(better, worse) > (allowed.level if allowed else policy.significance):
        return False
    (compared,) = compare_all(rows, candidate[None], champion[None])
    return judge(compared, policy, allowed).verdict == "PROMOTE"
