"""The page and the picture of what the simulated verdicts came to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binomtest

from graftline.verdict.gate import Verdict
from graftline.verdict.policy import Policy

# Which axes of a default policy stand in the way of a simulated improvement.
COUNTED = ("champion", "other scores", "slices")

PAGE = """# How often the verdict errs

Written by `python -m benchmarks.verdicts`. Every verdict in it is that of `decide` in `graftline/verdict/gate.py` with
the default policy (`graftline/verdict/policy.py`): floors, exact McNemar with the paired bootstrap, the other scores,
eight slices, the baseline that costs nothing.

![Promoted over true improvement](verdicts.svg)

- **Nothing is better**: {same_promoted} of {same_count:,} retrainings on {few:,} held-out rows are promoted.
  "Promote if larger" promotes {same_larger} of them.
- **The wanted improvement** of {wanted:g}, on the {many:,} rows that those who were held on {few:,} rows were told (the
  median): {better_promoted} of {better_count:,} retrainings are promoted. In the way of all of these stood, several at
  once included: {in_the_way}.
- "Promote if larger" finds nearly every improvement because it promotes half of all that changes nothing.

| held-out rows | true improvement | retrainings | promoted (95 % interval) | held | rejected | larger |
| --- | --- | --- | --- | --- | --- | --- |
{table}

## How it was made
Each row has a difficulty that all models share, and each model adds something of its own; both are normal, on the scale
of the logit of the right label. So the candidate's and the champion's outcomes are correlated as those of two
retrainings of the review model are
({models};
together {discordance} discordant).
Candidate, champion and rows are drawn anew for each retraining. An improvement is the same in every slice. All scores
of both models are resampled 1,000 times, stratified by class, as `evaluate_model` does it; a test holds the two against
one another. The baselines of negative transfer are left out: they can only make promotions rarer.

What it does not show: a champion that was chosen by these rows is harder to beat than one that was not. What becomes of
a whole year of looks at the same rows stands in [year.md](year.md).
"""


@dataclass(frozen=True)
class Judged:
    """The verdicts on all retrainings of one kind."""

    rows: int
    true_difference: float
    verdicts: Sequence[Verdict]
    larger: int
    """How many candidates had the larger accuracy."""

    @property
    def promoted(self) -> int:
        return sum(verdict.verdict == "PROMOTE" for verdict in self.verdicts)

    @property
    def rows_enough(self) -> int:
        """The median of the row counts that those who were held were told."""
        told = [verdict.rows_enough for verdict in self.verdicts if verdict.verdict == "HOLD" and verdict.rows_enough]
        return int(np.median(told))


def page(judged: Sequence[Judged], policy: Policy, models: str) -> str:
    """The figures and how they were made, as Markdown."""
    few, many = sorted({one.rows for one in judged})
    same, better = _find(judged, few, 0.0), _find(judged, many, policy.wanted_difference)
    stood = {
        name: sum(
            axis.name == name and axis.consequence is not None for verdict in better.verdicts for axis in verdict.axes
        )
        for name in COUNTED
    }
    return PAGE.format(
        same_promoted=_share(same.promoted, same),
        same_count=len(same.verdicts),
        few=few,
        many=many,
        same_larger=_share(same.larger, same),
        wanted=policy.wanted_difference,
        better_promoted=_share(better.promoted, better),
        better_count=len(better.verdicts),
        in_the_way=", ".join(f"{name} {_share(count, better)}" for name, count in stood.items()),
        table="\n".join(_row(one) for one in judged),
        models=models,
        discordance=f"{100 * _discordance(same):.1f} %",
    )


def picture(judged: Sequence[Judged], policy: Policy) -> Figure:
    """The share of retrainings that are promoted, over how much better they truly are."""
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for rows, dash in zip(sorted({one.rows for one in judged}), ("--", "-"), strict=True):
        those = [one for one in judged if one.rows == rows]
        truth = [100 * one.true_difference for one in those]
        for name, colour, promoted in (
            ("promote if larger", "#b3261e", [one.larger for one in those]),
            ("Graftline", "#1b7f4d", [one.promoted for one in those]),
        ):
            shares = [100 * count / len(one.verdicts) for count, one in zip(promoted, those, strict=True)]
            axes.plot(truth, shares, dash, color=colour, marker="o", label=f"{name}, {rows:,} held-out rows")
    wanted = 100 * policy.wanted_difference
    for level, place, words, end in (
        (5, 0, "at most 5 % where nothing is better", "right"),
        (80, wanted, "at least 80 % of the wanted improvement", "left"),
    ):
        axes.axhline(level, color="#5c6b66", linewidth=0.8, linestyle=":")
        axes.axvline(place, color="#5c6b66", linewidth=0.8, linestyle=":")
        axes.annotate(
            words,
            (max(truth) if end == "right" else min(truth), level + 1.5),
            color="#5c6b66",
            fontsize=9,
            horizontalalignment=end,
        )
    axes.set(
        xlabel="true improvement of the accuracy, points",
        ylabel="promoted, % of the retrainings",
        ylim=(-2, 104),
        title="What is promoted, and how much better it truly is",
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _find(judged: Sequence[Judged], rows: int, true_difference: float) -> Judged:
    return next(one for one in judged if (one.rows, one.true_difference) == (rows, true_difference))


def _discordance(judged: Judged) -> float:
    """The mean share of discordant rows."""
    counts = [axis.numbers or {} for verdict in judged.verdicts for axis in verdict.axes if axis.name == "champion"]
    return float(np.mean([(seen["better"] or 0) + (seen["worse"] or 0) for seen in counts])) / judged.rows


def _row(judged: Judged) -> str:
    sure = binomtest(judged.promoted, len(judged.verdicts)).proportion_ci(method="exact")
    counts = {name: sum(verdict.verdict == name for verdict in judged.verdicts) for name in ("HOLD", "REJECT")}
    return (
        f"| {judged.rows:,} | {judged.true_difference:+g} | {len(judged.verdicts):,} |"
        f" **{_share(judged.promoted, judged)}** ({100 * sure.low:.1f} to {100 * sure.high:.1f}) |"
        f" {_share(counts['HOLD'], judged)} | {_share(counts['REJECT'], judged)} | {_share(judged.larger, judged)} |"
    )


def _share(count: int, judged: Judged) -> str:
    return f"{100 * count / len(judged.verdicts):.1f} %"
