"""Targets that are any number of labels, with a separator between them."""

from graftline.data.classes import expected_of_classes
from graftline.data.expectation import NULL, Expectation, of_row
from graftline.data.target_kind import TargetKind
from graftline.data.targets import labels_in
from graftline.settings import DataSettings


def labels(target: str, settings: DataSettings) -> tuple[str, ...]:
    return labels_in(target, settings.label_separator)


def canonical(target: str, settings: DataSettings) -> str:
    """The labels in the order of their names: each order is the same target."""
    return settings.label_separator.join(sorted(labels(target, settings))) or settings.label_separator


def malformed(target: str, settings: DataSettings) -> str | None:
    """Which label is empty or stands there twice, or None."""
    found = labels(target, settings)
    doubled = sorted({label for label in found if found.count(label) > 1})
    if not all(found):
        return f"an empty label in {target!a}; the separator alone says that there is none"
    return f"the label {doubled[0]!a} twice" if doubled else None


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


TARGETS = TargetKind(expected, canonical, malformed, labels)
