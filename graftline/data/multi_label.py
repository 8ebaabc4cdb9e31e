"""Targets that are any number of labels, with a separator between them."""

import ast
from collections.abc import Sequence

from graftline.data.arrow_values import LIST_OF_LABELS
from graftline.data.classes import expected_of_classes
from graftline.data.expectation import NULL, Expectation, of_row
from graftline.data.tables import LABEL_TYPES, LABEL_TYPES_IN_WORDS
from graftline.data.target_kind import TargetKind, known_label
from graftline.data.targets import labels_in, target_of
from graftline.settings import DataSettings


def labels(target: str, settings: DataSettings) -> tuple[str, ...]:
    return labels_in(target, settings.label_separator)


def canonical(target: str, settings: DataSettings) -> str:
    """The labels in the order of their names: each order and spelling is the same target."""
    meant = {known_label(label, settings) for label in labels(target, settings)}
    return settings.label_separator.join(sorted(meant)) or settings.label_separator


def from_list(values: Sequence[object], settings: DataSettings) -> str:
    return target_of(values, settings.label_separator)


def malformed(target: str, settings: DataSettings) -> str | None:
    """Which label is empty or stands there twice, or None."""
    found = labels(target, settings)
    if _is_printed_list(target):
        return f"a list as a program prints it, {target!a}; expected labels with the separator between them"
    doubled = sorted({label for label in found if found.count(label) > 1})
    if not all(found):
        return f"an empty label in {target!a}; the separator alone says that there is none"
    return f"the label {doubled[0]!a} twice" if doubled else None


def _is_printed_list(target: str) -> bool:
    if not (target.startswith("[") and target.endswith("]")):
        return False
    try:
        return isinstance(ast.literal_eval(target), list)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def expected(settings: DataSettings) -> list[Expectation]:
    """Well-formed lists of declared labels, if there are any; one class may stand alone, but some rows are without."""
    well_formed = of_row(
        "target_well_formed",
        "target.malformed",
        NULL,
        f"every target holds labels with {settings.label_separator!a} between them, none empty, none twice",
    )
    known = of_row("target_known", "target.unknown", NULL, "every label is one of data.labels")
    return [
        well_formed,
        *([known] if settings.labels else []),
        *expected_of_classes(settings, least=1, most_share=1 - settings.min_class_share),
    ]


TARGETS = TargetKind(
    expected,
    canonical,
    malformed,
    labels,
    from_list=from_list,
    column_types=(*LABEL_TYPES, LIST_OF_LABELS),
    column_holds=f"{LABEL_TYPES_IN_WORDS}, or lists of these",
)
