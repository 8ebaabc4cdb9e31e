"""How often the verdict errs where rows of one group go along with each other: by group, and as if they did not.

Writes clusters.md and clusters.svg.
"""

import argparse
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.verdicts.__main__ import CHUNK, simulate
from benchmarks.verdicts.models import (
    MIXED,
    ROWS,
    Floats,
    Integers,
    Rows,
    compare_all,
    gains_of,
    held_out,
    judge,
    logits,
)
from graftline.evaluation.paired_tests import gains, mcnemar
from graftline.verdict.policy import Policy

DOCS = Path(__file__).resolve().parents[2] / "docs" / "measurements"
SIZES: Mapping[str, Sequence[int]] = {"1": (1,), "5": (5,), "20": (20,), f"1 to {max(MIXED)}": MIXED}
RETRAININGS, TESTS = 4000, 20_000
# One-sided: those of a single look, and of looks whose rows have been looked at often.
LEVELS = (0.025, 0.005, 0.0005)
# Groups of 20 rows in the table of few groups.
FEW, SIZE_OF_FEW = (10, 20, 30, 80), 20
# Of the groups so many lose what all others gain.
LOSERS = (0.5, 0.25, 0.1)
# So many of the rows of the others are newly right.
MOVED = 0.06
# How many verdicts tell how many rows are enough.
TOLD = 250


@dataclass(frozen=True)
class Share:
    """How many of the retrainings were promoted."""

    promoted: int
    retrainings: int


@dataclass(frozen=True)
class Found:
    """The verdicts on rows in groups of one kind."""

    sizes: str
    groups: int
    rows: int
    design_effect: float
    same: Mapping[bool, Share]
    """Without any true improvement; judged by row, and by group."""
    better: Mapping[bool, Share]
    """With the wanted improvement."""
    told: int
    """How many rows would be enough, by the verdicts by group."""
    on_told: Share
    """With the wanted improvement on so many rows, judged by group."""


@dataclass(frozen=True)
class Errors:
    """The share of tests at each level that show an improvement where there is none."""

    name: str
    by_group: Sequence[float]
    by_row: Sequence[float]


def promoted(rows: Rows, true_difference: float, retrainings: int, *, seed: int, policy: Policy) -> Share:
    """Judge retrainings whose accuracy is higher by `true_difference`, each on rows of its own."""
    random, count = np.random.default_rng((seed, len(rows.targets), round(1e6 * (1 + true_difference)))), 0
    for start in range(0, retrainings, CHUNK):
        candidate, champion = logits(rows, true_difference, min(CHUNK, retrainings - start), random)
        # The gate asks this and more; of a candidate that fails here nothing has to be resampled.
        those = [place for place in range(len(candidate)) if _may_win(rows, candidate[place], champion[place], policy)]
        seen = compare_all(rows, candidate[those], champion[those])
        count += sum(judge(one, policy).verdict == "PROMOTE" for one in seen)
    return Share(count, retrainings)


def _may_win(rows: Rows, candidate: Floats, champion: Floats, policy: Policy) -> bool:
    seen = gains_of(rows, candidate, champion)
    return seen.mean > 0 and seen.p <= policy.significance


def study(policy: Policy, retrainings: int, *, seed: int, count: int = ROWS) -> Iterator[Found]:
    """Each kind of groups, judged by group and by row."""
    for name, sizes in SIZES.items():
        ways = {by_row: held_out(count, seed=seed, sizes=sizes, by_row=by_row) for by_row in (False, True)}
        grouped = ways[False]
        told = simulate(grouped, 0.0, min(TOLD, retrainings), seed=seed, policy=policy).rows_enough
        wanted, fewer = policy.wanted_difference, max(1, retrainings // 4)
        enough = held_out(told, seed=seed, sizes=sizes)
        found = Found(
            name,
            int(grouped.groups.max()) + 1 if grouped.groups is not None else 0,
            count,
            _design_effect(grouped, seed),
            {by_row: promoted(rows, 0.0, retrainings, seed=seed, policy=policy) for by_row, rows in ways.items()},
            {by_row: promoted(rows, wanted, fewer, seed=seed, policy=policy) for by_row, rows in ways.items()},
            told,
            promoted(enough, wanted, fewer, seed=seed, policy=policy),
        )
        print(found, flush=True)
        yield found


def _design_effect(rows: Rows, seed: int) -> float:
    """The mean over some comparisons."""
    pairs = zip(*logits(rows, 0.0, TOLD, np.random.default_rng(seed)), strict=True)
    return float(np.mean([gains_of(rows, *pair).design_effect for pair in pairs]))


def errors_of_few_groups(tests: int, *, seed: int) -> Iterator[Errors]:
    """The tests alone, of few groups: down to small levels."""
    for groups in FEW:
        rows, random = held_out(groups * SIZE_OF_FEW, seed=seed, sizes=(SIZE_OF_FEW,)), np.random.default_rng(seed)
        pairs = (logits(rows, 0.0, CHUNK, random) for _ in range(0, tests, CHUNK))
        yield _errors(f"{groups}", ((ours > 0).astype(float) - (theirs > 0) for ours, theirs in pairs), rows)


def errors_of_lopsided_groups(tests: int, *, seed: int, groups: int = 80) -> Iterator[Errors]:
    """What the tests take for granted is not so: a few groups lose what all others gain."""
    rows = held_out(groups * SIZE_OF_FEW, seed=seed, sizes=(SIZE_OF_FEW,))
    assert rows.groups is not None
    for losers in LOSERS:
        yield _errors(f"{100 * losers:.0f} %", _lopsided(rows.groups, losers, tests, seed=seed), rows)


def _lopsided(groups: Integers, losers: float, tests: int, *, seed: int) -> Iterator[Floats]:
    """Gains whose mean over all groups that there may be is 0: (some tests, rows)."""
    random, count = np.random.default_rng((seed, round(100 * losers))), int(groups.max()) + 1
    for _ in range(0, tests, CHUNK):
        loses = (random.random((CHUNK, count)) < losers)[:, groups]
        moved = random.random(loses.shape) < MOVED * np.where(loses, (1 - losers) / losers, 1.0)
        yield np.where(moved, np.where(loses, -1.0, 1.0), 0.0)


def _errors(name: str, parts: Iterable[Floats], rows: Rows) -> Errors:
    """Of gains (some tests, rows) at a time."""
    by_group, by_row = [], []
    for gained in itertools.chain.from_iterable(parts):
        seen = gains(gained, np.zeros_like(gained), hits=True, groups=rows.groups)
        by_group.append(seen.p / 2 if seen.mean > 0 else 1.0)
        by_row.append(mcnemar(seen.better, seen.worse) / 2 if seen.mean > 0 else 1.0)
    found = Errors(name, *([float(np.mean(np.array(p) <= level)) for level in LEVELS] for p in (by_group, by_row)))
    print(found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--retrainings", type=int, default=RETRAININGS, help="without a true improvement")
    parser.add_argument("--tests", type=int, default=TESTS, help="of the tests alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DOCS, help="where clusters.md and clusters.svg are written")
    options = parser.parse_args()
    from matplotlib import rc_context

    from benchmarks.verdicts.clusters_page import page, picture

    began, policy, seed = time.process_time(), Policy(), options.seed
    found = list(study(policy, options.retrainings, seed=seed))
    few = list(errors_of_few_groups(options.tests, seed=seed))
    lopsided = list(errors_of_lopsided_groups(options.tests, seed=seed))
    (options.out / "clusters.md").write_text(page(found, few, lopsided, policy), encoding="utf-8")
    with rc_context({"svg.hashsalt": "graftline"}):
        picture(found, policy).savefig(options.out / "clusters.svg", format="svg", metadata={"Date": None})
    print(f"{time.process_time() - began:.0f} seconds of one core")


if __name__ == "__main__":
    main()
