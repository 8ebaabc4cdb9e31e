"""The page and the picture of years of daily looks."""

from dataclasses import dataclass, field

from matplotlib.figure import Figure
from scipy.stats import binomtest

from benchmarks.watching.real_rows import FOREIGN
from benchmarks.watching.studies import (
    A_DAY,
    BEGINS,
    HELD_OUT,
    LABELS_A_DAY,
    MARGIN,
    PROMISED,
    REAL_A_DAY,
    REAL_HELD_OUT,
    SHARES,
    WAITED,
    Estimate,
    FalseAlarms,
    Found,
    FoundScore,
    Luck,
)
from benchmarks.watching.years import OURS, SPENDING, SPLIT
from graftline.watching.evidence import LOOKS_A_YEAR, YEARLY_CHANCE
from graftline.watching.looks import SIGNALS

PAGE = """# A year of daily looks at what is served

Written by `python -m benchmarks.watching`. {looks} looks, one a day, with one error budget of {chance:g} a year for all
signals of `graftline watch` together: {signals}.

![False alarms over a year, and delays of drifts](watching.svg)

## Without a drift

| rows | rule | years | with an alarm (95 % interval) |
| --- | --- | --- | --- |
{false_alarms}

- *{ours}* is Graftline's rule: each day against a draw from the held-out rows **and all earlier days**, the p-values
  as bets, an alarm by Ville's inequality (`graftline/watching/evidence.py`). It promises {chance:g}; the law of the
  p-values alone, of which many years can be drawn, says how much less it takes.
- *{spending}*: each day against the held-out rows alone, the budget spent evenly over {looks} looks and all signals
  (a union bound). Right as well, whatever depends on what.
- *held-out, evidence* shows why the pool grows: the same bets on p-values that share their held-out rows. Unlucky
  held-out rows are unlucky every day.
- *each day by itself* looks at each day as if it were the only one.

Drawn rows: {held_out} held-out ones and {a_day} a day, each year with its own; true scores come with them, exactly as
high as was promised. Film reviews: {real_held_out:,} and {real_a_day} a day of texts that the head did not learn from,
with vectors of MiniLM, drawn with repetition.

## With a drift

Film reviews; from day {begins} on a share of each day is of another kind. The median delay in days of {drifts} years
each, and in brackets the share of the years that found it within {waited} days where that is not all.

| kind | share | {heads} |
| --- | --- | --- | --- | --- |
{found}

*{split}*: each day against held-out rows that no other day has, {real_held_out:,} / {looks} of them. Evidence finds
small drifts that no single day shows; spending finds a large one a day sooner.

## True scores

A score of {promised:g} was promised; from day {begins} on it lies lower. Median delay in days (share that was found in
the year).

| labelled rows a day | {falls} |
| --- | {lines} |
{scores}

The first column is years in which the score is exactly as promised: whatever is found there is a false alarm.

What is promised was seen on held-out rows, which may have been lucky. Years in which true scores are just what the
model is worth, {lucky_labels} a day, and the share of them with an alarm:

| held-out rows | years | compared with their score less {margin:g} | or less their luck, where that is more (ours) |
| --- | --- | --- | --- |
{luck}

## Estimated without labels

{estimate_rows} texts a day; the estimate counts those with more confidence than the floor that held-out rows give (Garg
et al. 2022). The stated error is that on held-out rows; where the texts are of another kind nothing bounds it, so an
estimate never raises an alarm.

| kind | share | true | estimated | stated error |
| --- | --- | --- | --- | --- |
{estimates}

## What it does not show

- The promise holds if rows without drift are exchangeable with the held-out ones. Served rows that come in clusters
  (one client, one document), or with the days of the week, are not, and are found as the drifts that they are.
- A model that was chosen as the best of many by the same held-out rows was promised more than a lower bound takes off.
- A drift that nobody minds is found, too. How far off the rows are stands beside each alarm; what follows from it says
  [the retraining policy](../how-to/watch.md).
"""
COLOURS = {OURS: "#1b7f4d", SPENDING: "#1f5fa8", SPLIT: "#8a8f98", "held-out, evidence": "#b26a00",
           "each day by itself": "#b3261e"}  # fmt: skip
DASHES = dict(zip(FOREIGN, ("-", "--", ":"), strict=True))
DAYS_SHOWN = (1, 2, 5, 10, 20, 50, 90)


@dataclass
class Results:
    """All that the page tells."""

    done: list[str] = field(default_factory=list)
    false_alarms: list[FalseAlarms] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    scores: list[FoundScore] = field(default_factory=list)
    luck: list[Luck] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)


def page(results: Results) -> str:
    """The figures as Markdown."""
    falls = sorted({one.fall for one in results.scores})
    return PAGE.format(
        looks=LOOKS_A_YEAR,
        signals=", ".join(SIGNALS),
        chance=YEARLY_CHANCE,
        ours=OURS,
        spending=SPENDING,
        split=SPLIT,
        held_out=HELD_OUT,
        a_day=A_DAY,
        real_held_out=REAL_HELD_OUT,
        real_a_day=REAL_A_DAY,
        begins=BEGINS,
        waited=WAITED,
        drifts=max((one.years for one in results.found), default=0),
        promised=PROMISED,
        false_alarms="\n".join(map(_false_alarms, results.false_alarms)),
        heads=" | ".join((OURS, SPENDING, SPLIT)),
        found="\n".join(filter(None, (_found(results, kind, share) for kind in FOREIGN for share in SHARES))),
        lines=" | ".join("---" for _ in falls),
        falls=" | ".join(f"-{fall:g}" if fall else "as promised" for fall in falls),
        scores="\n".join(
            f"| {labels} | {' | '.join(_score(one) for one in results.scores if one.labels == labels)} |"
            for labels in sorted({one.labels for one in results.scores})
        ),
        lucky_labels=LABELS_A_DAY[1],
        margin=MARGIN,
        luck="\n".join(
            f"| {one.held_out:,} | {one.years} | {100 * one.by_mean:.1f} % | **{100 * one.by_bound:.1f} %** |"
            for one in results.luck
        ),
        estimate_rows=4 * REAL_A_DAY,
        estimates="\n".join(
            f"| {one.kind} | {100 * one.share:.0f} % | {one.true:.3f} | {one.estimated:.3f} | {one.error:.3f} |"
            for one in results.estimates
        ),
    )


def _false_alarms(one: FalseAlarms) -> str:
    interval = binomtest(len(one.first), one.years).proportion_ci()
    share = f"**{100 * len(one.first) / one.years:.1f} %** ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
    return f"| {one.rows} | {one.rule} | {one.years:,} | {share} |"


def _found(results: Results, kind: str, share: float) -> str:
    cells = {
        one.rule: f"{_days(one.delay)}{_share(one.found)}"
        for one in results.found
        if one.kind == kind and one.share == share
    }
    if not cells:
        return ""
    return f"| {kind} | {100 * share:.0f} % | {' | '.join(cells[rule] for rule in (OURS, SPENDING, SPLIT))} |"


def _score(one: FoundScore) -> str:
    return f"{_days(one.delay)}{_share(one.alarmed)}"


def _days(delay: float | None) -> str:
    return "not found" if delay is None else f"{delay:g}"


def _share(found: float) -> str:
    return "" if found == 1 else f" ({100 * found:.3g} %)"


def picture(results: Results) -> Figure:
    """Left how many years had raised an alarm by each look, right the delay of each drift."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    wrong, right = figure.subplots(1, 2)
    for one in results.false_alarms:
        by_look = [100 * sum(first <= look for first in one.first) / one.years for look in range(LOOKS_A_YEAR)]
        style = {"drawn": "-", "film reviews": "--"}.get(one.rows, ":")
        wrong.plot(by_look, color=COLOURS[one.rule], linestyle=style, label=f"{one.rule} ({one.rows})")
    wrong.axhline(100 * YEARLY_CHANCE, color="#5c6b66", linewidth=0.8, linestyle=":")
    wrong.set(title="An alarm, and nothing drifted", xlabel="looks", ylabel="% of years", ylim=(-2, 102))
    wrong.legend(frameon=False, fontsize=8)
    for rule in (OURS, SPENDING, SPLIT):
        for kind, dash in DASHES.items():
            points = [one for one in results.found if one.rule == rule and one.kind == kind and one.delay]
            right.plot(
                [100 * one.share for one in points], [one.delay for one in points], marker="o", linestyle=dash,
                color=COLOURS[rule], label=kind if rule == OURS else None,
            )  # fmt: skip
    scale = "log" if results.found else "linear"
    right.set(
        title="A drift is found", xlabel="% of the rows are of another kind", ylabel="days", xscale=scale, yscale=scale
    )
    right.set_xticks([100 * share for share in SHARES], [f"{100 * share:g}" for share in SHARES])
    right.set_yticks(DAYS_SHOWN, [str(day) for day in DAYS_SHOWN])
    right.minorticks_off()
    right.legend(frameon=False, fontsize=8)
    for axes in (wrong, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
