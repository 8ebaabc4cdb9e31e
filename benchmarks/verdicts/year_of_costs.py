"""A year of retrainings whose answers are to cost less than the champion's, where errors cost different amounts.

Prints how many years promote anything whose answers cost no less: the same question as year.py asks, of the test that
the policy's `main_score: costs` stands on. An error costs 10 on the rows of a rare label, and 1 on all others.
"""

import argparse

import numpy as np

from benchmarks.verdicts.models import ROWS, Floats, Rows, held_out
from benchmarks.verdicts.year import LOOKS, Models, Spending
from graftline.evaluation.bootstrap import Score, difference_of
from graftline.evaluation.comparison import Comparison
from graftline.evaluation.costs import SPARED, priced_scoring
from graftline.evaluation.paired_tests import gains
from graftline.evaluation.single_label import SCORES
from graftline.verdict.life import Allowance
from graftline.verdict.policy import Policy
from graftline.verdict.score_axes import champion as axis_champion

POLICY = Policy(main_score="costs")
DEAR, RARE = 10.0, 0.05


def prices(rows: Rows) -> Floats:
    """What an error costs on each row: (rows,). Which ones are dear is drawn once."""
    count = len(rows.targets)
    return np.where(np.random.default_rng(2).permutation(count) < RARE * count, DEAR, 1.0)


def spared(rows: Rows, candidate: Floats, champion: Floats) -> Floats:
    """By how much the candidate's answer costs less on each row, of logits of the right label: (rows,)."""
    return np.asarray(prices(rows) * ((candidate > 0).astype(float) - (champion > 0)))


def promotions(rows: Rows, *, seed: tuple[int, ...], looks: int = LOOKS) -> list[int]:
    """The looks of a year that promote a model whose answers truly cost no less; each is the next champion."""
    models, spending, promoted = Models(rows, seed), Spending(rows, gained=spared), list[int]()
    champion = models.next(0.0)
    for look in range(1, looks + 1):
        candidate = models.next(0.0)
        allowed = spending.allowance(candidate, champion, POLICY)
        spending.add(candidate, champion, allowed)
        if is_cheaper(rows, candidate, champion, allowed):
            promoted.append(look)
            champion = candidate
    return promoted


def is_cheaper(rows: Rows, candidate: Floats, champion: Floats, allowed: Allowance) -> bool:
    """Whether the axis of the champion says so."""
    each = spared(rows, candidate, champion)
    if each.mean() <= 0:
        return False
    drawn = rows.counts @ each / rows.counts.sum(1)
    priced = Comparison(
        "the champion",
        {SPARED: Score(0.0, 0.0, 0.0)},
        {SPARED: difference_of(float(each.mean()), drawn.astype(float))},
        gains(each, np.zeros(len(each)), hits=False),
    )
    return axis_champion(priced, priced_scoring(SCORES.scoring), POLICY, allowed).outcome == "win"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=40)
    parser.add_argument("--looks", type=int, default=LOOKS)
    options = parser.parse_args()
    rows = held_out(ROWS, seed=0)
    years = [promotions(rows, seed=(6, number), looks=options.looks) for number in range(options.years)]
    print(f"{sum(map(bool, years))} of {options.years} years of {options.looks} looks promote what costs no less")


if __name__ == "__main__":
    main()
