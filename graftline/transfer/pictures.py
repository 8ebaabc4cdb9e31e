"""Pictures of a ranking, of gradients and of distances, as PNG bytes that are equal for equal numbers."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftline.wording import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, ACCENT, FAINT, BAND = "#1f2933", "#0b7285", "#868e96", "#dee2e6"
NAME_CHARACTERS = 28
# Of names above and below their spots, in points: those of neighbours in cost stand on two lines.
OFFSETS = (4, -12)
# Of more blocks not each has its number.
TICKED_BLOCKS = 24
# Names are set where the axis still shows them.
MARGIN = 0.25


@dataclass(frozen=True)
class Spot:
    """A base model in the picture."""

    name: str
    milliseconds: float
    """That a row takes through it."""
    value: float
    low: float
    high: float
    trained: Sequence[float]
    """What finished fine-tunings of it came to."""
    advised: bool


def cost_picture(spots: Sequence[Spot], score: str) -> bytes:
    """The expected score over what a row costs: solved heads with their intervals, and finished fine-tunings."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    for place, spot in enumerate(sorted(spots, key=lambda spot: spot.milliseconds)):
        colour = ACCENT if spot.advised else FAINT
        errors = [[max(spot.value - spot.low, 0)], [max(spot.high - spot.value, 0)]]
        axes.errorbar([spot.milliseconds], [spot.value], yerr=errors, fmt="o", color=colour, elinewidth=1)
        axes.annotate(
            shortened(spot.name, NAME_CHARACTERS), (spot.milliseconds, spot.value),
            xytext=(6, OFFSETS[place % 2]), textcoords="offset points", color=INK, fontsize=8,
        )  # fmt: skip
        axes.plot([spot.milliseconds] * len(spot.trained), spot.trained, "D", color=INK, fillstyle="none", markersize=5)
    axes.set_xscale("log")
    axes.margins(x=MARGIN)
    axes.set(xlabel="milliseconds for a row through the base model, here", ylabel=f"{score}, validation rows")
    return _png(figure)


@dataclass(frozen=True)
class Gap:
    """A target in the picture of distances."""

    name: str
    value: float
    low: float
    high: float
    """Its proxy A-distance, and the ends of the interval."""
    usual: tuple[float, float]
    """Where two parts of one set lie."""
    differs: bool


def gap_picture(gaps: Sequence[Gap]) -> bytes:
    """The proxy A-distance of each target, from 0, cannot be told apart, to 2, always can be."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 1.2 + 0.4 * len(gaps)), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    for place, gap in enumerate(gaps):
        axes.barh(place, gap.usual[1] - gap.usual[0], left=gap.usual[0], height=0.7, color=BAND)
        errors = [[max(gap.value - gap.low, 0)], [max(gap.high - gap.value, 0)]]
        axes.errorbar([gap.value], [place], xerr=errors, fmt="o", color=ACCENT if gap.differs else FAINT, elinewidth=1)
    names = [shortened(gap.name, NAME_CHARACTERS).replace("$", r"\$") for gap in gaps]
    axes.set_yticks(range(len(gaps)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="proxy A-distance", xlim=(min(-0.5, *(gap.usual[0] for gap in gaps)), 2.05))
    return _png(figure)


@dataclass(frozen=True)
class Bar:
    """A block in the picture of gradients."""

    value: float
    low: float
    high: float
    """Its relative gradient norm, and the extremes over batches."""
    tuned: bool
    """Whether it lies behind the advised freeze point."""


def gradient_picture(bars: Sequence[Bar], *, enough: float) -> bytes:
    """The relative gradient norm of each block in the order in which they run, and the line of what is `enough`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    places = range(1, len(bars) + 1)
    errors = [[max(bar.value - bar.low, 0) for bar in bars], [max(bar.high - bar.value, 0) for bar in bars]]
    colours = [ACCENT if bar.tuned else BAND for bar in bars]
    axes.bar(places, [bar.value for bar in bars], yerr=errors, color=colours, ecolor=FAINT, width=0.7)
    axes.axhline(enough, color=INK, linewidth=1, linestyle="--")
    if len(bars) <= TICKED_BLOCKS:
        axes.set_xticks(list(places))
    axes.set(xlabel="block, from the input on", ylabel="relative gradient norm")
    return _png(figure)


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()
