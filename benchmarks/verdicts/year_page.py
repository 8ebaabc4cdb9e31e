"""The page and the picture of years of retrainings."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from scipy.stats import binomtest

from benchmarks.verdicts.year import LOOKS, PROBES, TOLD_AT, Years
from graftline.verdict.policy import Policy

PAGE = """# A year of retrainings on the same rows

Written by `python -m benchmarks.verdicts.year`. {looks} retrainings, one after the other, none of which is truly better
than the first champion; each is judged by `decide` with the default policy, and what it promotes is the next champion.
*Over the life* is Graftline's rule: `false_promotions` {chance:g} for the whole life of the rows, planned for
{planned} looks (graftline/verdict/life.py). *Each by itself* judges every look at the level of a single one
({significance:g}, two-sided). At some looks a candidate that truly is better by {wanted:g} is judged beside.

![False promotions and power over a year](year.svg)

| held-out rows | judged | rule | years | with a false promotion (95 % interval) | a year | {heads} |
| --- | --- | --- | --- | --- | --- | {lines} |
{table}

The columns on the right: the share of truly better candidates that are promoted at that look. Simulated as
[verdicts.md](verdicts.md) says, candidates of one year on the same rows; their gains correlate by a half, since they
are compared with one champion. More alike candidates, as retrainings on nearly the same data are, cost less, and so do
rows that were not looked at before. The second number of rows is what those of the first that were held at look
{told_at} were told, in the median: on so many, {found:.0f} % are promoted then.

*In groups*: rows of 1 to 40 in a group, as in [clusters.md](clusters.md). By group is what `data.group` does; row by
row is the same life without it.

The limit of the method: half of the variance of each comparison is the champion's own luck on these rows, which all
candidates share and no number of them takes away. A fixed level that keeps a year at 5 % shows +0.02 in 36 % of cases
on 1,610 rows; spending half of the chance early finds more in the first weeks and a little less later.
"""
COLOURS = {"over the life": "#1b7f4d", "each by itself": "#b26a00", "promote if larger": "#b3261e"}
DASHES = ("-", "--", "-.", ":")
ALONE = "independent"


def page(seen: Sequence[Years], policy: Policy) -> str:
    """The figures as Markdown."""
    return PAGE.format(
        looks=LOOKS,
        chance=policy.false_promotions,
        planned=policy.planned_looks,
        significance=policy.significance,
        wanted=policy.wanted_difference,
        heads=" | ".join(f"look {look}" for look in PROBES),
        lines=" | ".join("---" for _ in PROBES),
        table="\n".join(map(_row, seen)),
        told_at=TOLD_AT,
        found=100 * next((one.power[TOLD_AT] for one in seen if one.rows != seen[0].rows), 0.0),
    )


def picture(seen: Sequence[Years]) -> Figure:
    """Left how many years had promoted anything by each look, right what share of better candidates is promoted."""
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    wrong, right = figure.subplots(1, 2)
    for one, dash in zip(seen, _dashes(seen), strict=True):
        named = {"color": COLOURS[one.rule], "linestyle": dash}
        wrong.plot(range(1, LOOKS + 1), [100 * share for share in one.false_by_look], **named)
        label = f"{one.rule}, {one.rows:,} rows{'' if one.judged == ALONE else f' {one.judged}'}"
        right.plot(PROBES, [100 * one.power[look] for look in PROBES], marker="o", label=label, **named)
    wrong.axhline(5, color="#5c6b66", linewidth=0.8, linestyle=":")
    wrong.set(title="Something no better was promoted", xlabel="retrainings", ylabel="% of years", ylim=(-2, 102))
    right.set(
        title="A better one is promoted", xlabel="at which look", ylabel="% of years", xscale="log", ylim=(-2, 102)
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    for axes in (wrong, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _dashes(seen: Sequence[Years]) -> list[str]:
    kinds = list(dict.fromkeys((one.judged, one.rows) for one in seen))
    return [DASHES[kinds.index((one.judged, one.rows)) % len(DASHES)] for one in seen]


def _row(one: Years) -> str:
    count, false = one.count, len(one.first)
    sure = binomtest(false, count).proportion_ci(method="exact")
    often = one.promotions / count
    power = " | ".join(f"{100 * one.power[look]:.0f} %" for look in PROBES)
    return (
        f"| {one.rows:,} | {one.judged} | {one.rule} | {count} | **{100 * false / count:.1f} %**"
        f" ({100 * sure.low:.1f} to {100 * sure.high:.1f}) | {often:.2f} | {power} |"
    )
