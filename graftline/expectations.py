"""What must hold of the data, as data: the suite follows from the settings, and Great Expectations decides it."""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from graftline.row_facts import named_columns
from graftline.rows import normalised, printable
from graftline.settings import DataSettings
from graftline.splitting import SPLITS, Split
from graftline.tables import NAME_TYPES, TEXT_TYPES

Level = Literal["set", "row"]
Asset = Literal["header", "lines", "rows", "classes", "set"]

MIN_CLASSES = 2
# Without one held-out row of a class nothing can be said about it.
MIN_ROWS_PER_SPLIT = 1
# A rare label this similar to a far more frequent one is more likely a slip than a class.
TYPO_SIMILARITY = 0.8
TYPO_SHARE = 0.05
# Every label is compared with every other: beyond this it would take minutes, and other expectations fail first.
MOST_LABELS_COMPARED = 300
SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Expectation:
    """One thing that must hold. A fault of a row moves that row to quarantine, a fault of the set refuses the data."""

    name: str
    asset: Asset
    level: Level
    kind: str
    """The Great Expectations class."""
    meaning: str
    column: str | None = None
    bounds: Mapping[str, JsonValue] = field(default_factory=dict)
    """The class's further arguments."""


@dataclass(frozen=True)
class Check:
    """What was seen of one expectation."""

    expectation: Expectation
    success: bool
    faulty: int
    seen: str
    examples: tuple[str, ...] = ()

    def as_json(self) -> dict[str, JsonValue]:
        return {
            "name": self.expectation.name,
            "level": self.expectation.level,
            "meaning": self.expectation.meaning,
            "great_expectations": self.expectation.kind,
            "column": self.expectation.column,
            "success": self.success,
            "faulty": self.faulty,
            "seen": self.seen,
            "examples": list(self.examples),
        }


def expectations_for(settings: DataSettings) -> tuple[Expectation, ...]:
    """Everything that must hold of data with these settings."""
    return (*_of_the_header(settings), *_of_the_rows(settings), *_of_the_classes(settings), *_of_the_set(settings))


def class_table(
    labels: Sequence[str], accepted: Iterable[tuple[str, Split]]
) -> dict[str, list[str | int | float | None]]:
    """For every label the accepted rows, their share, their number on each side, and a label that it resembles."""
    pairs = Counter(accepted)
    rows = {label: sum(pairs[label, split] for split in SPLITS) for label in labels}
    total = max(1, sum(rows.values()))
    comparable = len(labels) <= MOST_LABELS_COMPARED
    return {
        "label": [printable(label) for label in labels],
        "rows": list(rows.values()),
        "share": [count / total for count in rows.values()],
        **{split: [pairs[label, split] for label in labels] for split in SPLITS},
        "resembles": [likely_meant(label, rows) if comparable else None for label in labels],
    }


def likely_meant(label: str, rows: Mapping[str, int]) -> str | None:
    """Another label of which this one looks like a misspelling, or None. `rows` counts each label's rows."""
    for other, count in rows.items():
        rarer = (rows.get(label, 0), label) < (count, other)
        if other != label and rarer and normalised(label) == normalised(other):
            return f"{label!a}: did you mean {other!a}?"
        similar = difflib.SequenceMatcher(a=label, b=other).ratio() >= TYPO_SIMILARITY
        numbered = _without_digits(label) == _without_digits(other)
        if other != label and similar and not numbered and rows.get(label, 0) < count * TYPO_SHARE:
            return f"{label!a}: did you mean {other!a}?"
    return None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing."""
    folded = {normalised(other): other for other in known}
    close = difflib.get_close_matches(normalised(name), folded, n=1)
    return f" (did you mean {folded[close[0]]!a}?)" if close else ""


def shown(value: object) -> str:
    """A value in one short line that no terminal, table or page reads as a command."""
    text = ascii(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def _of_the_header(settings: DataSettings) -> list[Expectation]:
    expectations = []
    for role, column in named_columns(settings).items():
        types = TEXT_TYPES if role == "input" else NAME_TYPES
        kind = "text" if role == "input" else "text, whole numbers or true and false"
        expectations += [
            Expectation(
                f"{role}_column_present", "header", "set", "ExpectColumnToExist",
                f"the table has the column {shown(column)} that data.{role} names", printable(column),
            ),
            Expectation(
                f"{role}_column_type", "header", "set", "ExpectColumnValuesToBeInSet",
                f"the column {shown(column)} holds {kind}", printable(column), {"value_set": list(types)},
            ),
        ]  # fmt: skip
    return expectations


def _of_the_rows(settings: DataSettings) -> list[Expectation]:
    def row(name: str, column: str, kind: str, meaning: str, **bounds: JsonValue) -> Expectation:
        return Expectation(name, "rows", "row", kind, meaning, column, bounds)

    null, not_null = "ExpectColumnValuesToBeNull", "ExpectColumnValuesToNotBeNull"
    between = "ExpectColumnValuesToBeBetween"
    roles = list(named_columns(settings))
    longest = settings.max_characters
    return [
        Expectation("row_readable", "lines", "row", null, "every row can be read", "fault"),
        *(row(f"{role}_present", role, not_null, f"no {role} is missing") for role in roles if role[:6] != "slice."),
        row("input_not_blank", "input.visible", between, "every input shows at least one character", min_value=1),
        row("input_length", "input.characters", between, f"no input is longer than {longest:,} characters",
            max_value=longest),
        *(row(f"{role}_clean", f"{role}.unclean", null,
              f"every {role} is valid Unicode without control characters or direction overrides") for role in roles),
        *([row("target_known", "target", "ExpectColumnValuesToBeInSet", "every label is one of data.labels",
               value_set=[printable(label) for label in settings.labels])] if settings.labels else []),
        row("id_unique", "id", "ExpectColumnValuesToBeUnique", "no two rows have the same id"),
        row("no_conflict", "conflict", null, "no input stands there twice with different labels"),
        row("no_straddling_duplicate", "twin", null,
            "no row repeats, or nearly repeats, a row on a better protected side of the split"),
    ]  # fmt: skip


def _of_the_classes(settings: DataSettings) -> list[Expectation]:
    between = "ExpectColumnValuesToBeBetween"
    expectations = [
        Expectation("two_classes", "classes", "set", "ExpectTableRowCountToBeBetween",
                    "there are at least two classes", None, {"min_value": MIN_CLASSES}),
        Expectation("class_rows", "classes", "set", between,
                    f"every class has at least {settings.min_rows_per_class} accepted rows", "rows",
                    {"min_value": settings.min_rows_per_class}),
        Expectation("class_share", "classes", "set", between,
                    f"every class makes up at least {settings.min_class_share:.1%} of the accepted rows", "share",
                    {"min_value": settings.min_class_share}),
        *(Expectation(f"class_{split}_rows", "classes", "set", between, f"every class has a {split} row", split,
                      {"min_value": MIN_ROWS_PER_SPLIT}) for split in SPLITS),
    ]  # fmt: skip
    if not settings.labels:
        expectations.append(
            Expectation("no_misspelt_label", "classes", "set", "ExpectColumnValuesToBeNull",
                        "no label looks like a misspelling of another (declare data.labels if all are meant)",
                        "resembles")
        )  # fmt: skip
    return expectations


def _of_the_set(settings: DataSettings) -> list[Expectation]:
    between = "ExpectColumnValuesToBeBetween"
    return [
        Expectation("has_rows", "set", "set", between, "the table has rows", "read", {"min_value": 1}),
        Expectation("has_accepted_rows", "set", "set", between, "some rows are fit", "accepted", {"min_value": 1}),
        Expectation("quarantined_share", "set", "set", between,
                    f"at most {settings.max_quarantined:.2%} of the rows are faulty (data.max_quarantined)",
                    "quarantined_share", {"max_value": settings.max_quarantined}),
    ]  # fmt: skip


def _without_digits(label: str) -> str:
    return "".join(mark for mark in label if not mark.isdigit())
