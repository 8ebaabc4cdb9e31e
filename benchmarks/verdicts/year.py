"""A year of retrainings on the same held-out rows, each judged by the gate, the champion replaced by what it promotes.

Writes year.md and year.svg: how often anything is promoted that is no better, and how often a better one is. What is
known is kept beside the page: a killed run goes on where it stopped.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.stats import norm

from benchmarks.scores.kept_page import KeptPage, page_options
from benchmarks.verdicts.models import (
    MIXED,
    ROWS,
    SPREAD,
    STRENGTHS,
    Floats,
    Rows,
    compare_all,
    gained,
    gains_of,
    held_out,
    judge,
    normal,
)
from graftline.verdict.gate import Verdict
from graftline.verdict.life import Allowance, Life, room, spent_share
from graftline.verdict.policy import Policy

PAGE = Path(__file__).resolve().parents[2] / "docs" / "measurements" / "year.md"
Rule = Literal["over the life", "each by itself", "promote if larger"]
Judged = Literal["independent", "in groups, by group", "in groups, row by row"]
RULES: tuple[Rule, ...] = ("over the life", "each by itself", "promote if larger")
LOOKS = 365
PROBES = (1, 3, 10, 30, 100, 200, 365)
# The look whose row count that is enough is tried, too: after so many useless ones.
TOLD_AT = 100


@dataclass
class Year:
    """What became of retrainings none of which is truly better than the first champion."""

    promoted: list[int] = field(default_factory=list)
    """The looks that promoted one all the same."""
    found: dict[int, bool] = field(default_factory=dict)
    """Whether a candidate that truly is better by the wanted difference would have been promoted at these looks."""
    told: dict[int, int] = field(default_factory=dict)
    """How many rows would be enough, by the verdict on those that were not."""


def year(
    rows: Rows, rule: Rule, policy: Policy, *, seed: tuple[int, ...], looks: int = LOOKS, probes: Collection[int] = ()
) -> Year:
    """Judge so many retrainings, one after the other.

    At each look of `probes` a truly better candidate is judged beside, as if it had come instead; nothing follows.
    """
    models, spending = Models(rows, seed), Spending(rows)
    champion = models.next(0.0)
    seen = Year()
    for look in range(1, looks + 1):
        if look in probes:
            _probe(seen, look, rows, models.next(policy.wanted_difference), champion, rule, policy, spending)
        candidate = models.next(0.0)
        allowed = spending.allowance(candidate, champion, policy) if rule == "over the life" else None
        verdict = _verdict(rows, candidate, champion, rule, policy, allowed)
        if allowed:
            spending.add(candidate, champion, allowed)
        if verdict == "PROMOTE":
            seen.promoted.append(look)
            champion = candidate
    return seen


class Models:
    """One model after the other for the same rows: their logits of the right label."""

    def __init__(self, rows: Rows, seed: tuple[int, ...]) -> None:
        self._random, self._rows = np.random.default_rng(seed), rows
        self._alike = np.array([kind.correlation() for kind in STRENGTHS])[rows.strength]
        self._shared = np.sqrt(self._alike) * normal(rows, 1, self._random)[0]

    def next(self, better_by: float) -> Floats:
        """(rows,)"""
        middle = np.asarray(norm.ppf([kind.accuracy + better_by for kind in STRENGTHS]))[self._rows.strength]
        own = np.sqrt(1 - self._alike) * normal(self._rows, 1, self._random)[0]
        return np.asarray(SPREAD * (middle + self._shared + own))


class Spending:
    """What `allowance` says where every look saw all rows, look by look instead of from the beginning."""

    def __init__(
        self, rows: Rows, *, among: int = 1, gained: Callable[[Rows, Floats, Floats], Floats] = gained
    ) -> None:
        """For one of so many targets that share the chance to err; `gained` says what a candidate gains on the rows."""
        self._among, self._gained = among, gained
        units = len(rows.targets) if rows.judged_groups is None else len(np.unique(rows.judged_groups))
        self._life, self._seen, self._rows = Life(), np.empty((0, units)), rows

    def allowance(self, candidate: Floats, champion: Floats, policy: Policy) -> Allowance:
        looks = len(self._seen)
        free = room(looks, chance=policy.false_promotions / self._among, planned=policy.planned_looks)
        level = self._life.level(self._seen @ self._unit(candidate, champion), free)
        return Allowance(
            min(policy.significance / self._among, 2 * level), spent_share(looks, policy.planned_looks), looks
        )

    def add(self, candidate: Floats, champion: Floats, allowed: Allowance) -> None:
        unit = self._unit(candidate, champion)
        self._life.add(self._seen @ unit, allowed.level / 2)
        self._seen = np.concatenate([self._seen, unit[None]])

    def _unit(self, candidate: Floats, champion: Floats) -> Floats:
        """The gains on the rows, or on their groups, as a vector of length 1."""
        each = self._gained(self._rows, candidate, champion)
        return np.asarray(each / (np.linalg.norm(each) or 1.0))


def _verdict(
    rows: Rows, candidate: Floats, champion: Floats, rule: Rule, policy: Policy, allowed: Allowance | None
) -> str:
    if rule == "promote if larger":
        return "PROMOTE" if (candidate > 0).sum() > (champion > 0).sum() else "HOLD"
    seen, level = gains_of(rows, candidate, champion), allowed.level if allowed else policy.significance
    # The gate asks this and more; of a candidate that fails here nothing has to be resampled.
    if seen.mean <= 0 or seen.p > level:
        return "HOLD"
    return _judged(rows, candidate, champion, policy, allowed).verdict


def _judged(rows: Rows, candidate: Floats, champion: Floats, policy: Policy, allowed: Allowance | None) -> Verdict:
    (compared,) = compare_all(rows, candidate[None], champion[None])
    return judge(compared, policy, allowed)


def _probe(
    seen: Year,
    look: int,
    rows: Rows,
    better: Floats,
    champion: Floats,
    rule: Rule,
    policy: Policy,
    spending: Spending,
) -> None:
    allowed = spending.allowance(better, champion, policy) if rule == "over the life" else None
    seen.found[look] = _verdict(rows, better, champion, rule, policy, allowed) == "PROMOTE"
    if not seen.found[look] and rule != "promote if larger":
        told = _judged(rows, better, champion, policy, allowed).rows_enough
        seen.told[look] = told or 0


@dataclass(frozen=True)
class Years:
    """Years of one rule on one number of rows."""

    rule: Rule
    rows: int
    judged: Judged
    """What the rows are, and how they are judged."""
    count: int
    first: Sequence[int]
    """Of the years that promoted anything the look that did so first."""
    promotions: int
    power: Mapping[int, float]
    """By look the share of truly better candidates that were promoted there."""
    told: Mapping[int, int]
    """By look the median of the row counts that those who were held there were told."""

    @property
    def false_by_look(self) -> list[float]:
        """The share of the years that had promoted anything by each look."""
        return [sum(first <= look for first in self.first) / self.count for look in range(1, LOOKS + 1)]


def years_of(rule: Rule, rows: int, seen: Sequence[Year], judged: Judged = "independent") -> Years:
    """All of them together."""
    told = {look: [one.told[look] for one in seen if look in one.told] or [0] for look in PROBES}
    return Years(
        rule,
        rows,
        judged,
        len(seen),
        sorted(one.promoted[0] for one in seen if one.promoted),
        sum(len(one.promoted) for one in seen),
        {look: float(np.mean([one.found[look] for one in seen])) for look in PROBES},
        {look: int(np.median(counts)) for look, counts in told.items()},
    )


def study(rule: Rule, rows: Rows, years: int, policy: Policy, *, seed: int, workers: int = 1) -> Years:
    """So many years, each with models of its own."""
    began, count = time.monotonic(), len(rows.targets)
    one = partial(_numbered_year, rows, rule, policy, seed)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        seen = list(pool.map(one, range(years), chunksize=5))
    judged: Judged = "independent" if rows.groups is None else "in groups, row by row"
    found = years_of(rule, count, seen, judged if rows.judged_groups is None else "in groups, by group")
    print(
        f"{count} rows, {found.judged}, {rule}: {len(found.first)} of {years} years with a false promotion;"
        f" better ones found at looks {', '.join(f'{look}: {found.power[look]:.2f}' for look in PROBES)};"
        f" told at look {TOLD_AT}: {found.told[TOLD_AT]}; {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return found


def _numbered_year(rows: Rows, rule: Rule, policy: Policy, seed: int, number: int) -> Year:
    return year(rows, rule, policy, seed=(seed, len(rows.targets), number), probes=PROBES)


def main() -> None:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--years", type=int, default=200, help="of independent rows; of rows in groups half as many")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    from matplotlib import rc_context

    from benchmarks.verdicts.year_page import page, picture

    policy, seed = Policy(), options.seed
    asked = {"years": options.years, "rows": options.rows, "seed": seed, "policy": policy.sha256}
    kept = KeptPage(options.output, dict[str, Years], asked)
    known, seen = kept.read({}), list[Years]()

    def add(rows: Rows, rules: Sequence[Rule], years: int) -> None:
        for rule in rules:
            name = f"{len(rows.targets)} rows {rows.groups is None} {rows.judged_groups is None} {rule}"
            if name not in known:
                known[name] = study(rule, rows, years, policy, seed=seed, workers=options.workers)
                kept.keep(known, name)
            seen.append(known[name])
        kept.write(page(seen, policy))
        with rc_context({"svg.hashsalt": "graftline"}):
            picture(seen).savefig(options.output.with_suffix(".svg"), format="svg", metadata={"Date": None})

    add(held_out(options.rows, seed=seed), RULES, options.years)
    add(held_out(seen[0].told[TOLD_AT], seed=seed), RULES, options.years)
    for by_row in (False, True):
        rows = held_out(options.rows, seed=seed, sizes=MIXED, by_row=by_row)
        add(rows, RULES[: 1 + by_row], options.years // 2)


if __name__ == "__main__":
    main()
