"""The pictures of a search, as PNG bytes that are equal for equal numbers."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT, FAINT = "#1f2933", "#0b7285", "#868e96"
BAR_INCHES = 0.4


@dataclass(frozen=True)
class Mark:
    """A trial in the picture."""

    score: float
    went_through: bool
    """Whether it was given up otherwise."""


def scores_picture(marks: Mapping[int, Mark], score: str) -> bytes:
    """The score of each trial by its number: gone through (filled) or given up (open), and the best one so far."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(4.2)
    whole = {number: mark.score for number, mark in marks.items() if mark.went_through}
    given_up = {number: mark.score for number, mark in marks.items() if not mark.went_through}
    axes.plot(list(whole), list(whole.values()), "o", color=ACCENT)
    axes.plot(list(given_up), list(given_up.values()), "o", color=FAINT, fillstyle="none")
    axes.step(list(whole), _highest_so_far(list(whole.values())), where="post", color=INK, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel=f"{score}, validation rows")
    return _png(figure)


def importances_picture(importances: Mapping[str, float]) -> bytes:
    """The share of each drawn value in what told the best trials from the others."""
    figure, axes = _figure(1 + BAR_INCHES * len(importances))
    names = list(importances)[::-1]
    axes.barh(names, [importances[name] for name in names], color=ACCENT, height=0.6)
    axes.set(xlabel="share of what told the best trials from the others", xlim=(0, 1))
    return _png(figure)


def _highest_so_far(values: Sequence[float]) -> list[float]:
    return [max(values[: place + 1]) for place in range(len(values))]


def _figure(height: float) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()
