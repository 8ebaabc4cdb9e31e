"""Pictures of an evaluation, as PNG bytes that are equal for equal numbers."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from graftline.evaluation.metrics import Floats, Integers
from graftline.wording import shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, ACCENT, FAINT = "#1f2933", "#0b7285", "#ced4da"
LABEL_CHARACTERS = 16


def confusion_picture(table: Integers, labels: Sequence[str]) -> bytes:
    """The confusion table as a heat map; rows are true labels, shades are shares of the row."""
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
    """F1 of each label as a bar, with its precision and recall."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, max(2.4, 1.2 + 0.4 * len(labels))), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(labels))
    axes.barh(places, [entry["f1"] for entry in classes], color=FAINT, label="F1")
    for name, marker in (("precision", "<"), ("recall", ">")):
        axes.scatter([entry[name] for entry in classes], places, marker=marker, color=ACCENT, label=name, zorder=2)
    axes.set_yticks(places, [_plain(label) for label in labels])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("share")
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return _png(figure)


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
