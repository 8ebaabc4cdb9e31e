"""Targets as they stand in a table, and what is wrong with one: a label, several labels, or a number."""

import math
import re
from collections.abc import Sequence

from graftline.settings import DataSettings

# Python's own float() also takes "1_000", " 1 ", "infinity" and the digits of every script.
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def labels_in(target: str, separator: str) -> tuple[str, ...]:
    """The labels of a multi-label target; none if it is the separator alone."""
    return () if target == separator else tuple(target.split(separator))


def canonical(target: str, settings: DataSettings) -> str:
    """The target as it is written down: of several labels each order is the same target."""
    if settings.task != "multi_label":
        return target
    separator = settings.label_separator
    return separator.join(sorted(labels_in(target, separator))) or separator


def malformed(target: str, settings: DataSettings) -> str | None:
    """Why the text is no target of the task, or None."""
    if settings.task == "regression":
        number = float(target) if NUMBER.fullmatch(target) else math.nan
        return None if math.isfinite(number) else f"{target!a} is no finite number, expected one such as 0.5 or -3e2"
    if settings.task == "multi_label":
        labels = labels_in(target, settings.label_separator)
        doubled = sorted({label for label in labels if labels.count(label) > 1})
        if not all(labels):
            return f"an empty label in {target!a}; the separator alone says that there is none"
        return f"the label {doubled[0]!a} twice" if doubled else None
    return None


def unknown(target: str, settings: DataSettings) -> str | None:
    """The first label that is none of those declared, or None."""
    labels = labels_in(target, settings.label_separator) if settings.task == "multi_label" else (target,)
    return next((label for label in labels if label and settings.labels and label not in settings.labels), None)


def spread(targets: Sequence[str]) -> float:
    """The distance between the lowest and the highest of some numbers; 0 if there are none."""
    numbers = [float(target) for target in targets]
    return max(numbers) - min(numbers) if numbers else 0.0
