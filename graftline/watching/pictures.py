"""Pictures of a champion's looks, as PNG bytes that are equal for equal numbers."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT, FAINT, ALARM = "#1f2933", "#0b7285", "#ced4da", "#b3261e"
COLOURS = ("#0b7285", "#b26a00", "#5f3dc4", "#1b7f4d", "#c2255c", "#495057")
# Less than the capital of the beginning says nothing.
LEAST_SHOWN = 0.1
# matplotlib draws dates, and its annotations know none.
Days = Sequence[Any]


def evidence_picture(days: Days, capitals: Mapping[str, Sequence[float]], needed: float) -> bytes:
    """How the evidence of each signal grew, and how much of it is an alarm."""
    figure, axes = _axes()
    for colour, (signal, values) in zip(COLOURS, capitals.items(), strict=False):
        shown = [max(value, LEAST_SHOWN) for value in values]
        axes.plot(days, shown, color=colour, label=signal.replace("_", " "))
    axes.axhline(needed, color=ALARM, linewidth=1, linestyle="--", label="alarm")
    axes.set(yscale="log", ylabel="times the evidence of the beginning", ylim=(LEAST_SHOWN, None))
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def score_picture(
    days: Days,
    scores: Sequence[tuple[float, float, float] | None],
    estimated: Sequence[tuple[float, float] | None],
    promised: float,
) -> bytes:
    """The true score (value, low, high), the one estimated without labels (value, error), and what was promised."""
    figure, axes = _axes()
    true = [(day, one) for day, one in zip(days, scores, strict=True) if one]
    if true:
        values, low, high = zip(*(one for _, one in true), strict=True)
        axes.plot([day for day, _ in true], values, color=INK, label="true, of all rows with a label")
        axes.fill_between([day for day, _ in true], low, high, color=FAINT, alpha=0.6, linewidth=0)
    guessed = [(day, one) for day, one in zip(days, estimated, strict=True) if one]
    if guessed:
        axes.errorbar(
            [day for day, _ in guessed], [one[0] for _, one in guessed], [one[1] for _, one in guessed],
            fmt="o", markersize=3, color=ACCENT, elinewidth=0.8, label="estimated without labels",
        )  # fmt: skip
    axes.axhline(promised, color=ALARM, linewidth=1, linestyle="--", label="promised, less margin or luck")
    axes.set(ylabel="score")
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


def _axes() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelrotation=30, labelsize=8)
    return figure, axes


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()
