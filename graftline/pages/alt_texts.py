"""Figures in words: what somebody sees in them who can see them."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np

from graftline.behaviour.held_out import HeldOut
from graftline.evaluation.pictures import MOST_LABELS, largest_confusions, weakest_labels

# A longer text is read by nobody; the tables below the figures hold every number.
MOST_NAMED = 6


def alt_text(title: str, held_out: HeldOut) -> str:
    """The figure of this title, of the held-out rows."""
    words: Mapping[str, Callable[[HeldOut], str]] = {
        "Confusion": _confusion,
        "Quarters": _confusion,
        "Reliability": _reliability,
        "Labels": _labels,
        "Predicted": _numbers,
    }
    say = words.get(title.split()[0])
    return f"{title}: {say(held_out)}" if say else title


def training_alt_text(train: Sequence[float], validation: Sequence[float], loss: str) -> str:
    """The figure of a training."""
    best = min(range(len(validation)), key=validation.__getitem__)
    return (
        f"Training: over {len(train)} epochs the {loss} goes from {train[0]:.3g} to {train[-1]:.3g} on the training"
        f" rows and from {validation[0]:.3g} to {validation[-1]:.3g} on the validation rows, lowest after epoch"
        f" {best + 1} ({validation[best]:.3g})"
    )


def _confusion(held_out: HeldOut) -> str:
    names = held_out.confusion_names
    if len(names) > MOST_LABELS:
        found = largest_confusions(np.array(held_out.confusion), MOST_NAMED)
        said = [f"{one.rows:,} rows that are {names[one.actual]} as {names[one.predicted]}" for one in found]
        return f"the largest of {len(names):,} labels, {'; '.join(said) or 'none'}"
    rows = [
        f"of {sum(counts):,} rows that are {actual}, {_predicted(names, counts)}"
        for actual, counts in zip(names, held_out.confusion, strict=True)
        if sum(counts)
    ]
    return _some(rows)


def _predicted(names: Sequence[str], counts: Sequence[int]) -> str:
    found = sorted(zip(counts, names, strict=True), key=lambda pair: (-pair[0], pair[1]))
    return _some([f"{count:,} were predicted as {name}" for count, name in found if count], ", ")


def _reliability(held_out: HeldOut) -> str:
    said = [
        f"where the model is {one['confidence']:.0%} sure, {one['accuracy']:.0%} of {one['rows']:,} are right"
        for one in held_out.reliability
    ]
    return _some(said[::-1])


def _labels(held_out: HeldOut) -> str:
    classes = cast("Sequence[Mapping[str, float]]", held_out.classes)
    shown = [held_out.classes[place] for place in weakest_labels(classes, MOST_LABELS)]
    weakest = "the weakest, " if len(shown) < len(classes) else ""
    return weakest + _some([f"{one['label']} F1 {float(one['f1']):.2f}" for one in shown])


def _numbers(held_out: HeldOut) -> str:
    bins = held_out.reliability
    lowest, highest = bins[0], bins[-1]
    return (
        f"the tenth of the rows with the lowest predictions has {lowest['confidence']:.3g} on average and is"
        f" {lowest['accuracy']:.3g}; the tenth with the highest has {highest['confidence']:.3g} and is"
        f" {highest['accuracy']:.3g}"
    )


def _some(parts: Sequence[str], between: str = "; ") -> str:
    more = [f"{len(parts) - MOST_NAMED} more"] if len(parts) > MOST_NAMED else []
    return between.join([*parts[:MOST_NAMED], *more])
