"""A year of retrainings of a model of several targets, none of which is better in any: one verdict over all of them.

Writes year_of_targets.md: how often anything is promoted all the same, and how often a candidate that is better in one
target. What is known is kept beside the page: a killed run goes on where it stopped.
"""

import multiprocessing
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.stats import binomtest

from benchmarks.scores.kept_page import KeptPage, page_options
from benchmarks.verdicts.models import ROWS, Floats, Rows, candidate_in, compare_all, gains_of, held_out
from benchmarks.verdicts.year import LOOKS, Models, Spending
from graftline.verdict.life import Allowance
from graftline.verdict.policy import Policy
from graftline.verdict.several_targets import TargetSeen, decide_several

PAGE = Path(__file__).resolve().parents[2] / "docs" / "measurements" / "year_of_targets.md"
# Over the life with any target, or the first one alone, that has to be better; and any without a share of the level.
Rule = Literal["any target", "the main target", "any target, each at the whole level"]
RULES: tuple[Rule, ...] = ("any target", "the main target", "any target, each at the whole level")
TARGETS, PROBES = 3, (1, 10, 100, 365)
NAMES = [f"target {place}" for place in range(1, TARGETS + 1)]

# One model: the logits of the right label, (rows,) for each target.
Model = Sequence[Floats]


@dataclass
class Year:
    """What became of retrainings none of which is truly better than the first champion in any target."""

    promoted: list[int] = field(default_factory=list)
    """The looks that promoted one all the same."""
    found: dict[int, bool] = field(default_factory=dict)
    """Whether a candidate that truly is better in the first target would have been promoted at these looks."""


@dataclass(frozen=True)
class Years:
    """Years of one rule."""

    rule: Rule
    rows: int
    count: int
    false: int
    """How many promoted anything."""
    power: dict[int, float]
    """By look the share of candidates better in one target that were promoted there."""


def year(
    rows: Rows, rule: Rule, policy: Policy, *, seed: tuple[int, ...], looks: int = LOOKS, probes: Collection[int] = ()
) -> Year:
    """Judge so many retrainings, one after the other; at each look of `probes` also one better in the first target."""
    of_target = [Models(rows, (*seed, target)) for target in range(TARGETS)]
    spendings = [Spending(rows, among=TARGETS if rule == "any target" else 1) for _ in of_target]
    chosen = policy.model_copy(update={"main_target": NAMES[0] if rule == "the main target" else None})
    champion, seen = [models.next(0.0) for models in of_target], Year()
    for look in range(1, looks + 1):
        if look in probes:
            gains = [policy.wanted_difference, *[0.0] * (TARGETS - 1)]
            better = [models.next(gain) for models, gain in zip(of_target, gains, strict=True)]
            seen.found[look] = _verdict(rows, better, champion, chosen, _allowed(spendings, better, champion, chosen))
        candidate = [models.next(0.0) for models in of_target]
        allowed = _allowed(spendings, candidate, champion, chosen)
        promoted = _verdict(rows, candidate, champion, chosen, allowed)
        for spending, ours, theirs, one in zip(spendings, candidate, champion, allowed, strict=True):
            if one is not None:
                spending.add(ours, theirs, one)
        if promoted:
            seen.promoted.append(look)
            champion = candidate
    return seen


def _allowed(
    spendings: Sequence[Spending], candidate: Model, champion: Model, policy: Policy
) -> list[Allowance | None]:
    """What is left for each target that may decide."""
    return [
        spending.allowance(ours, theirs, policy) if policy.main_target in (None, name) else None
        for name, spending, ours, theirs in zip(NAMES, spendings, candidate, champion, strict=True)
    ]


def _verdict(
    rows: Rows, candidate: Model, champion: Model, policy: Policy, allowed: Sequence[Allowance | None]
) -> bool:
    """Whether it is promoted."""
    seen = [gains_of(rows, ours, theirs) for ours, theirs in zip(candidate, champion, strict=True)]
    # The gate asks this and more; of a candidate that fails here nothing has to be resampled.
    if not any(one and gains.mean > 0 and gains.p <= one.level for gains, one in zip(seen, allowed, strict=True)):
        return False
    targets = []
    for name, ours, theirs, one in zip(NAMES, candidate, champion, allowed, strict=True):
        ((beside, majority),) = compare_all(rows, ours[None], theirs[None])
        targets.append(TargetSeen(name, candidate_in(beside), beside, {"majority": majority}, one))
    return decide_several(targets, policy).verdict == "PROMOTE"


def study(rule: Rule, rows: Rows, years: int, policy: Policy, *, seed: int, workers: int) -> Years:
    """So many years, each with models of its own."""
    one = partial(_numbered_year, rows, rule, policy, seed)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        seen = list(pool.map(one, range(years)))
    power = {look: float(np.mean([one.found[look] for one in seen])) for look in PROBES}
    return Years(rule, len(rows.targets), years, sum(bool(one.promoted) for one in seen), power)


def _numbered_year(rows: Rows, rule: Rule, policy: Policy, seed: int, number: int) -> Year:
    return year(rows, rule, policy, seed=(seed, number), probes=PROBES)


TEXT = """# A year of retrainings of a model of several targets

Written by `python -m benchmarks.verdicts.year_of_targets`. {looks} retrainings of a model of {targets} targets, none of
which is truly better than the first champion in any of them; each is judged by `decide_several` with the default policy
over all targets, and what it promotes is the next champion. At some looks a candidate is judged beside that truly is
better by {wanted:g} in one target and equal in the others. Rows and models as in [year.md](year.md), independent from
target to target, which is the worst case for the chance to err in any of them.

| held-out rows | what has to be better | years | with a false promotion (95 % interval) | {heads} |
| --- | --- | --- | --- | {lines} |
{table}

*Any target* is the rule where the policy names no `main_target`: each target spends its own third of the chance. *Each
at the whole level* is the same without shares, for comparison: this is what the correction for several targets is
worth. *The main target* is the rule where the policy names one.
"""


def page(seen: Sequence[Years], policy: Policy) -> str:
    """The figures as Markdown."""
    return TEXT.format(
        looks=LOOKS,
        targets=TARGETS,
        wanted=policy.wanted_difference,
        heads=" | ".join(f"better one found at look {look}" for look in PROBES),
        lines=" | ".join("---" for _ in PROBES),
        table="\n".join(map(_row, seen)),
    )


def _row(one: Years) -> str:
    sure = binomtest(one.false, one.count).proportion_ci(method="exact")
    power = " | ".join(f"{100 * one.power[look]:.0f} %" for look in PROBES)
    return (
        f"| {one.rows:,} | {one.rule} | {one.count} | **{100 * one.false / one.count:.1f} %**"
        f" ({100 * sure.low:.1f} to {100 * sure.high:.1f}) | {power} |"
    )


def main() -> None:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--years", type=int, default=100)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    policy = Policy()
    asked = {"years": options.years, "rows": options.rows, "seed": options.seed, "targets": TARGETS}
    kept = KeptPage(options.output, dict[str, Years], asked)
    known = kept.read({})
    for rule in RULES:
        if rule not in known:
            rows = held_out(options.rows, seed=options.seed)
            known[rule] = study(rule, rows, options.years, policy, seed=options.seed, workers=options.workers)
            kept.keep(known, rule)
    kept.write(page([known[rule] for rule in RULES], policy))


if __name__ == "__main__":
    main()
