"""One kind of target: how it is read, and what is expected of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from graftline.data.expectation import Expectation
from graftline.data.splitting import Side
from graftline.data.tables import LABEL_TYPES, LABEL_TYPES_IN_WORDS
from graftline.settings import DataSettings


def as_it_stands(target: str, _settings: DataSettings) -> str:
    return target


def known_label(label: str, settings: DataSettings) -> str:
    """The label that the settings say is meant."""
    return settings.label_aliases.get(label, label)


def without_fault(_target: str, _settings: DataSettings) -> None:
    return None


def refuse_list(_values: Sequence[object], _settings: DataSettings) -> str:
    raise ValueError("holds a list: several labels belong to data.task multi_label")


def without_labels(_target: str, _settings: DataSettings) -> tuple[str, ...]:
    return ()


def without_facts(_accepted: Collection[tuple[str, Side]]) -> dict[str, float]:
    return {}


def row_by_row(targets: "TargetKind") -> "TargetKind":
    """The same kind, of which nothing is expected but of each row by itself."""
    return replace(
        targets, expected=lambda settings: [one for one in targets.expected(settings) if one.asset == "rows"]
    )


@dataclass(frozen=True)
class TargetKind:
    """All that sets the targets of one task apart from those of the others."""

    expected: Callable[[DataSettings], Sequence[Expectation]]
    """Of the rows' targets, of their classes, and of the set."""
    canonical: Callable[[str, DataSettings], str] = as_it_stands
    """The target as it is written down: the same text for every way to write the same target."""
    malformed: Callable[[str, DataSettings], str | None] = without_fault
    """Why a text is no such target, or None."""
    labels: Callable[[str, DataSettings], tuple[str, ...]] = without_labels
    """The classes that a row with this target belongs to."""
    set_facts: Callable[[Collection[tuple[str, Side]]], Mapping[str, float]] = without_facts
    """The facts for the expectations of the set, from the accepted targets, each once with its side of the split."""
    from_list: Callable[[Sequence[object], DataSettings], str] = refuse_list
    """The target that a list in a table stands for. Raises: ValueError with the reason if it stands for none."""
    column_types: tuple[str, ...] = LABEL_TYPES
    """Those that the target's column may have in a table."""
    column_holds: str = LABEL_TYPES_IN_WORDS
    """These types in words."""
    may_conflict: bool = True
    """Whether one input with two targets is a fault."""
    names_folders: bool = False
    """Whether the name of a class folder can be such a target."""
    absent: bool = False
    """Whether the rows have none: no column is read, and the names of folders say nothing."""
    further: "Mapping[str, TargetKind]" = field(default_factory=dict)
    """The kinds of the targets beside this one, by their columns."""

    def unknown(self, target: str, settings: DataSettings) -> str | None:
        """The first label that is none of those declared, or None."""
        labels = self.labels(target, settings) if settings.labels else ()
        return next((label for label in labels if label and label not in settings.labels), None)
