"""The page and the picture of verdicts on rows in groups."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binomtest

from benchmarks.verdicts.clusters import LEVELS, SIZE_OF_FEW, Errors, Found, Share
from benchmarks.verdicts.models import SHARED_BY_GROUP
from graftline.verdict.policy import Policy

PAGE = """# Rows in groups

Written by `python -m benchmarks.verdicts.clusters`. Rows of one speaker, document or customer are not independent. With
`data.group` the verdict is found by group: whole groups are resampled, and the champion's test is that of the groups'
sums. *By row* is the same gate without it. Each verdict is that of `decide` with the default policy, for a single look.

![False promotions by the size of the groups](clusters.svg)

| rows in a group | groups of {rows:,} rows | design effect | promoted by group (95 % interval) | by row |
| --- | --- | --- | --- | --- |
{false}

Nothing is better, so at most {allowed:g} % may be promoted. The design effect is how many times as many rows are needed
as of independent ones.

| rows in a group | better by {wanted:g}, on {rows:,} rows: by group | by row | rows told | on those, by group |
| --- | --- | --- | --- | --- |
{power}

Truly better ones that are promoted. *Rows told* is the median of what those who were held are told. What the test by
row finds more, it finds by erring more.

## Few groups, small levels

The tests alone, groups of {size} rows, nothing better: how often an improvement is shown, at the one-sided levels that
a first look and later ones have.

| groups | {heads} |
| --- | {lines} |
{few}

The test of the groups' sums counts all ways of turning their signs, so that it errs no more often at small levels. Of
few groups it can show nothing at such a level: then the verdict is HOLD, and says how many must differ.

## What it takes for granted

That a group's sum is as likely as its negative, if nothing is better. That is not so where a few groups lose what all
others gain: of 80 groups, each of {size} rows,

| groups that lose | {heads} |
| --- | {lines} |
{lopsided}

No test of so few groups can know of groups that it did not see. That none of the groups that matter loses is what
`data.slices` is for.

## How it was made

Rows and models are those of [verdicts.md](verdicts.md), except that {share:g} % of the variance of a row's difficulty,
and of what each model adds, is that of its whole group. That changes neither how often models are right nor how often
two of them differ. Rows, candidate and champion are drawn anew for each of {retrainings:,} retrainings without a true
improvement, and a quarter as many with one.
"""


def page(found: Sequence[Found], few: Sequence[Errors], lopsided: Sequence[Errors], policy: Policy) -> str:
    """The figures as Markdown."""
    return PAGE.format(
        rows=found[0].rows,
        wanted=policy.wanted_difference,
        false="\n".join(map(_false, found)),
        power="\n".join(map(_power, found)),
        allowed=50 * policy.significance,
        size=SIZE_OF_FEW,
        heads=" | ".join(f"{level:g} by group | by row" for level in LEVELS),
        lines=" | ".join("---" for _ in range(2 * len(LEVELS))),
        few="\n".join(map(_errors, few)),
        lopsided="\n".join(map(_errors, lopsided)),
        share=100 * SHARED_BY_GROUP,
        retrainings=found[0].same[True].retrainings,
    )


def picture(found: Sequence[Found], policy: Policy) -> Figure:
    """The share of retrainings that are promoted although nothing is better."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes, places = figure.add_subplot(), np.arange(len(found))
    for by_row, shift, name, colour in ((False, -0.2, "by group", "#1b7f4d"), (True, 0.2, "by row", "#b3261e")):
        axes.bar(places + shift, [_percent(one.same[by_row]) for one in found], 0.38, label=name, color=colour)
    allowed = 50 * policy.significance
    axes.axhline(allowed, color="#5c6b66", linewidth=0.8, linestyle=":", label=f"{allowed:g} % allowed")
    axes.set_xticks(places, [one.sizes for one in found])
    axes.set(xlabel="rows in a group", ylabel="promoted, %", title="Promoted although nothing is better")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _false(one: Found) -> str:
    sure = binomtest(one.same[False].promoted, one.same[False].retrainings).proportion_ci(method="exact")
    return (
        f"| {one.sizes} | {one.groups:,} | {one.design_effect:.2f} | **{_percent(one.same[False]):.1f} %**"
        f" ({100 * sure.low:.1f} to {100 * sure.high:.1f}) | {_percent(one.same[True]):.1f} % |"
    )


def _power(one: Found) -> str:
    return (
        f"| {one.sizes} | {_percent(one.better[False]):.0f} % | {_percent(one.better[True]):.0f} % |"
        f" {one.told:,} | {_percent(one.on_told):.0f} % |"
    )


def _errors(one: Errors) -> str:
    pairs = zip(one.by_group, one.by_row, strict=True)
    return f"| {one.name} | " + " | ".join(f"{ours:.4f} | {theirs:.4f}" for ours, theirs in pairs) + " |"


def _percent(share: Share) -> float:
    return 100 * share.promoted / share.retrainings
