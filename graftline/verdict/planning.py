"""How many held-out rows show which difference, before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from graftline.evaluation.paired_tests import rows_for_groups, rows_for_mcnemar
from graftline.verdict.axis import POWER
from graftline.verdict.life import Life, room
from graftline.verdict.policy import Policy

# Candidates that differ from one champion by chance alone: half of each difference is the champion's.
USUAL_CORRELATION = 0.5
DIFFERENCES = (0.005, 0.01, 0.02, 0.03, 0.05)
LOOKS = (1, 30, 100)


@dataclass(frozen=True)
class Groups:
    """How the rows come in groups whose rows are not independent."""

    size: float
    """Rows in a group, on average."""
    design_effect: float
    """How many times as many rows are needed as of independent ones."""


@dataclass(frozen=True)
class Need:
    """How many rows show a true difference four times out of five, at each of some levels."""

    difference: float
    rows: Sequence[int]


def usual_levels(policy: Policy, looks: Sequence[int] = LOOKS) -> list[float]:
    """The two-sided levels at these looks at the same rows, if nothing was promoted before."""
    life, levels = Life(), []
    for look in range(max(looks)):
        alike = np.full(look, USUAL_CORRELATION)
        level = life.level(alike, room(look, chance=policy.false_promotions, planned=policy.planned_looks))
        life.add(alike, level)
        levels.append(min(policy.significance, 2 * level))
    return [levels[look - 1] for look in looks]


def needs(
    differences: Sequence[float], *, discordance: float, levels: Sequence[float], groups: Groups | None = None
) -> list[Need]:
    """By exact McNemar, for two models that differ on this share of the rows; for rows in `groups` by their sums."""

    def rows(difference: float, level: float) -> int:
        independent = rows_for_mcnemar(difference=difference, discordance=discordance, level=level, power=POWER)
        if groups is None:
            return independent
        return rows_for_groups(
            independent, size=groups.size, design_effect=groups.design_effect, level=level, power=POWER
        )

    return [Need(difference, [rows(difference, level) for level in levels]) for difference in differences]


def picture(found: Sequence[Need], *, names: Sequence[str], rows: int | None) -> Figure:
    """Rows over the difference that they show, one line for each level; `rows`: those that there are."""
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for place, name in enumerate(names):
        axes.plot([100 * need.difference for need in found], [need.rows[place] for need in found], "o-", label=name)
    if rows:
        axes.axhline(rows, color="#5c6b66", linewidth=0.8, linestyle=":", label=f"{rows:,} rows now")
    axes.set(
        xlabel="true difference of the accuracy, points",
        ylabel="held-out rows",
        yscale="log",
        title="Held-out rows that show a difference four times out of five",
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
