"""Targets that are one label."""

from pydantic import JsonValue

from graftline.data.classes import expected_of_classes
from graftline.data.expectation import IN_SET, Expectation, of_row
from graftline.data.row_names import printable
from graftline.data.target_kind import TargetKind, known_label
from graftline.settings import DataSettings


def the_label(target: str, _settings: DataSettings) -> tuple[str, ...]:
    return (target,)


def expected(settings: DataSettings) -> list[Expectation]:
    """Declared labels, if there are any, and two classes or more."""
    declared: list[JsonValue] = [printable(label) for label in settings.labels]
    known = of_row("target_known", "target", IN_SET, "every label is one of data.labels", value_set=declared)
    return [*([known] if declared else []), *expected_of_classes(settings, least=2, most_share=1)]


TARGETS = TargetKind(expected, known_label, labels=the_label, names_folders=True)
