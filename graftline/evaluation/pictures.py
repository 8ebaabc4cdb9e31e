"""Pictures of an evaluation, as PNG bytes that are equal for equal numbers."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graftline.evaluation.metrics import Floats, Integers
from graftline.wording import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, ACCENT, FAINT = "#1f2933", "#0b7285", "#ced4da"
LABEL_CHARACTERS = 16
# Of more labels a heat map has cells that nobody can read, and with a thousand a million of them.
MOST_LABELS = 20


def confusion_picture(table: Integers, labels: Sequence[str]) -> bytes:
    """The confusion table as a heat map; of more labels than anybody reads there, the largest confusions."""
    return _confusion_bars(table, labels) if len(labels) > MOST_LABELS else _confusion_map(table, labels)


def _confusion_map(table: Integers, labels: Sequence[str]) -> bytes:
    """Rows are true labels, shades are shares of the row."""
    from matplotlib.figure import Figure

    shares = table / table.sum(1, keepdims=True).clip(1)
    side = max(3.6, 1.6 + 0.7 * len(labels))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="GnBu", vmin=0, vmax=1)
    for row in range(len(labels)):
        for column in range(len(labels)):
            shade = "white" if shares[row, column] > 0.6 else INK
            text = f"{table[row, column]}\n{shares[row, column]:.1%}"
            axes.text(column, row, text, ha="center", va="center", color=shade)
    axes.set_xticks(range(len(labels)), [_plain(label) for label in labels])
    axes.set_yticks(range(len(labels)), [_plain(label) for label in labels])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return _png(figure)


def _confusion_bars(table: Integers, labels: Sequence[str]) -> bytes:
    """One bar for each of the largest confusions: how many rows, and what share of those with the true label."""
    from matplotlib.figure import Figure

    found = largest_confusions(table, MOST_LABELS)
    figure = Figure(figsize=(7.2, 1.2 + 0.3 * max(4, len(found))), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(range(len(found)), [one.rows for one in found], color=FAINT)
    axes.bar_label(bars, [f"{one.rows:,} ({one.share:.1%})" for one in found], padding=3, color=INK)
    names = [f"{_plain(labels[one.actual])} → {_plain(labels[one.predicted])}" for one in found]
    axes.set_yticks(range(len(found)), names)
    axes.set_ylabel("true → predicted")
    axes.invert_yaxis()
    axes.margins(x=0.3)
    drawn, wrong = sum(one.rows for one in found), int(table.sum() - np.trace(table))
    axes.set_xlabel(f"rows (share of the true label's): {drawn:,} of {wrong:,} wrong ones")
    return _png(figure)


@dataclass(frozen=True)
class Confusion:
    """Rows of one label that were predicted as another."""

    actual: int
    predicted: int
    rows: int
    share: float
    """Of the rows that have the label."""


def largest_confusions(table: Integers, most: int) -> list[Confusion]:
    """The largest ones of a confusion table, without the answers that are right."""
    wrong = table - np.diag(np.diag(table))
    actual, predicted = np.nonzero(wrong)
    rows, totals = wrong[actual, predicted], table.sum(1)
    order = np.lexsort((predicted, actual, -rows))[:most]
    return [
        Confusion(int(actual[at]), int(predicted[at]), int(rows[at]), float(rows[at] / totals[actual[at]]))
        for at in order
    ]


def reliability_picture(
    bins: Sequence[Mapping[str, float]],
    before: Sequence[Mapping[str, float]],
    *,
    predicted: str = "confidence",
    seen: str = "share that is right",
) -> bytes:
    """The seen share against the predicted one, and `before` without the temperature; dashed is perfect calibration."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], linestyle="--", color=FAINT)
    most = max(entry["rows"] for entry in [*bins, *before])
    for entries, color, name in ((before, FAINT, "before the temperature"), (bins, ACCENT, "with it")):
        places = [entry["confidence"] for entry in entries], [entry["accuracy"] for entry in entries]
        axes.plot(*places, color=color, label=name)
        axes.scatter(*places, s=[20 + 180 * entry["rows"] / most for entry in entries], color=color, alpha=0.7)
    axes.legend(frameon=False, loc="upper left")
    axes.set_xlim(min(0.45, *(entry["confidence"] - 0.03 for entry in [*bins, *before])), 1.02)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel(f"{predicted} (size of a point: rows)")
    axes.set_ylabel(seen)
    return _png(figure)


def label_picture(classes: Sequence[Mapping[str, float]], labels: Sequence[str]) -> bytes:
    """F1 of each label as a bar, with its precision and recall; of many labels those with the lowest F1."""
    from matplotlib.figure import Figure

    few = weakest_labels(classes, MOST_LABELS)
    said = "share" if len(few) == len(labels) else f"share; the {len(few)} of {len(labels):,} labels with the lowest F1"
    classes, labels = [classes[place] for place in few], [labels[place] for place in few]
    figure = Figure(figsize=(4.8, max(2.4, 1.2 + 0.4 * len(labels))), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(labels))
    axes.barh(places, [entry["f1"] for entry in classes], color=FAINT, label="F1")
    for name, marker in (("precision", "<"), ("recall", ">")):
        axes.scatter([entry[name] for entry in classes], places, marker=marker, color=ACCENT, label=name, zorder=2)
    axes.set_yticks(places, [_plain(label) for label in labels])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.set_xlabel(said)
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return _png(figure)


def weakest_labels(classes: Sequence[Mapping[str, float]], most: int) -> list[int]:
    """The places of those that are predicted worst, in order; of a few labels all, as they stand."""
    if len(classes) <= most:
        return list(range(len(classes)))
    return sorted(sorted(range(len(classes)), key=lambda place: classes[place]["f1"])[:most])


def number_picture(predictions: Floats, targets: Floats, name: str) -> bytes:
    """Each row's predicted number against its actual one; on the dashed line they are equal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    ends = [min(predictions.min(), targets.min()), max(predictions.max(), targets.max())]
    axes.plot(ends, ends, linestyle="--", color=FAINT)
    axes.scatter(targets[:, 0], predictions[:, 0], s=12, color=ACCENT, alpha=0.5, linewidths=0)
    axes.set_xlabel(f"actual {_plain(name)}")
    axes.set_ylabel(f"predicted {_plain(name)}")
    return _png(figure)


def training_picture(train: Sequence[float], validation: Sequence[float], loss: str = "log loss") -> bytes:
    """Loss on the training and the validation rows after each epoch."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(4.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    epochs = range(1, len(train) + 1)
    axes.plot(epochs, train, marker="o", color=FAINT, label="training rows")
    axes.plot(epochs, validation, marker="o", color=ACCENT, label="validation rows")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(loss)
    axes.legend(frameon=False)
    return _png(figure)


def _plain(label: str) -> str:
    # matplotlib reads $...$ as a formula; labels are data.
    return shortened(label, LABEL_CHARACTERS).replace("$", r"\$")


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
