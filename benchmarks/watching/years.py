"""Years of daily looks at rows that drift, or do not, judged by several rules at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from graftline.evaluation.metrics import Floats
from graftline.transfer.permutations import ENOUGH_EXTREMES, MOST_DRAWS, Permuted
from graftline.watching.evidence import LOOKS_A_YEAR, YEARLY_CHANCE, weights
from graftline.watching.looks import SIGNALS, Rows, Signal, Watched, after_look, drift_of, joined
from graftline.watching.scores import pays_for_scores

Rule = Literal["pool, evidence", "held-out, spending", "split, evidence", "held-out, evidence", "each day by itself"]
OURS: Rule = "pool, evidence"
SPENDING: Rule = "held-out, spending"
SPLIT: Rule = "split, evidence"
RULES: tuple[Rule, ...] = (OURS, SPENDING, SPLIT, "held-out, evidence", "each day by itself")
WEIGHTS = weights(SIGNALS)
# Of one test where the error budget of a year is spent evenly over all looks and signals. So many draws show such a
# p-value if none of them is as extreme.
SPENT = YEARLY_CHANCE / len(SIGNALS) / LOOKS_A_YEAR
FINE_DRAWS = round(1 / SPENT)
RowsOf = Callable[[int, np.random.Generator], Rows]
"""The rows of a day, by its number from 0."""


@dataclass(frozen=True)
class TrueScores:
    """The labels that a day brings."""

    of: Callable[[int, np.random.Generator], Floats]
    promised: float


@dataclass
class Year:
    """What became of one year."""

    alarms: dict[Rule, int] = field(default_factory=dict)
    """The first look with an alarm."""
    by_signal: dict[str, int] = field(default_factory=dict)
    """The same of our own rule alone."""
    p: list[dict[str, float]] = field(default_factory=list)
    """Its p-values, look by look."""


def year(
    held_out: Rows,
    rows_of: RowsOf,
    bandwidth: float,
    *,
    seed: tuple[int, ...],
    looks: int = LOOKS_A_YEAR,
    rules: Sequence[Rule] = RULES,
    scores: TrueScores | None = None,
    ends_with_alarms: bool = False,
) -> Year:
    """Look so many times; each rule is shown the same rows."""
    random, seen = np.random.default_rng((*seed, 0)), Year()
    judges = {rule: _Judge(rule, held_out, bandwidth, np.random.default_rng((*seed, 1))) for rule in rules}
    for look in range(looks):
        today = rows_of(look, random)
        pays = pays_for_scores(scores.of(look, random), scores.promised) if scores else None
        for rule, judge in judges.items():
            if rule not in seen.alarms and judge.alarms(today, look, pays):
                seen.alarms[rule] = look
        if OURS in judges and judges[OURS].tested:
            seen.p.append({name: one.p for name, one in judges[OURS].tested.items()})
        if ends_with_alarms and len(seen.alarms) == len(rules):
            break
    if OURS in judges:
        seen.by_signal = {name: one.alarm for name, one in judges[OURS].signals.items() if one.alarm is not None}
    return seen


class _Judge:
    """One rule through one year."""

    def __init__(self, rule: Rule, held_out: Rows, bandwidth: float, random: np.random.Generator) -> None:
        self.rule, self.bandwidth, self.random = rule, bandwidth, random
        self.pool = [held_out]
        self.signals: Mapping[Signal, Watched] = {}
        self.tested: Mapping[Signal, Permuted] = {}
        order = random.permutation(len(held_out))
        self.parts = [held_out.take(np.sort(part)) for part in np.array_split(order, LOOKS_A_YEAR)]

    def alarms(self, today: Rows, look: int, pays: Sequence[float] | None) -> bool:
        others = self.parts[look] if self.rule == SPLIT else joined(self.pool)
        draws, enough = (FINE_DRAWS, 1) if self.rule == SPENDING else (MOST_DRAWS, ENOUGH_EXTREMES)
        self.tested = drift_of(today, others, self.bandwidth, self.random, most_draws=draws, enough=enough)
        if self.rule == OURS:
            self.pool.append(today)
        if self.rule.endswith("evidence"):
            self.signals = after_look(self.signals, self.tested, pays, look, WEIGHTS)
            return any(one.alarm is not None for one in self.signals.values())
        level = SPENT if self.rule == SPENDING else YEARLY_CHANCE / len(SIGNALS)
        return min(one.p for one in self.tested.values()) <= level


@dataclass(frozen=True)
class Drawn:
    """Rows that are drawn from normal laws: as many numbers as a head reads, a length, an answer and a confidence."""

    width: int = 8
    moved: float = 0.0
    """By how many spreads each of the first two features is moved from the day of the drift on."""
    begins: int = 0

    def rows(self, count: int, day: int, random: np.random.Generator) -> Rows:
        features = random.standard_normal((count, self.width))
        if day >= self.begins:
            features[:, :2] += self.moved
        answer = features[:, 0] + random.standard_normal(count) > 0
        lengths = np.exp(features[:, 1] + random.standard_normal(count)).round(1)
        confidence = 1 / (1 + np.exp(-np.abs(features[:, 0])))
        return Rows(lengths[:, None], np.stack([answer, ~answer], 1), confidence, features.astype(np.float32))


def found_after(years: Sequence[Year], rule: Rule, begins: int, looks: int) -> tuple[float | None, float]:
    """The median delay in looks of a drift that began at look `begins`, None where most did not find it, and the share
    that was; an alarm before counts as none."""
    delays = [year.alarms.get(rule, looks) - begins + 1 for year in years]
    found = [delay > 0 and year.alarms.get(rule, looks) < looks for delay, year in zip(delays, years, strict=True)]
    known = [float(delay) if there else float("inf") for delay, there in zip(delays, found, strict=True)]
    return finite_median(known), float(np.mean(found))


def finite_median(delays: Sequence[float]) -> float | None:
    """The median of numbers some of which are infinite; None where it is."""
    median = float(np.median(delays))
    return median if np.isfinite(median) else None
