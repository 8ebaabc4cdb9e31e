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
from graftline.tables import FLOAT_TYPES, NAME_TYPES, TEXT_TYPES

NULL, NOT_NULL = "ExpectColumnValuesToBeNull", "ExpectColumnValuesToNotBeNull"
BETWEEN, IN_SET = "ExpectColumnValuesToBeBetween", "ExpectColumnValuesToBeInSet"

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
    labels: Sequence[str], accepted: Iterable[tuple[str, Split]], *, accepted_rows: int
) -> dict[str, list[str | int | float | None]]:
    """For every label the accepted rows, their share, their number on each side, and a label that it resembles.

    `accepted` holds one pair for each label of each accepted row.
    """
    pairs = Counter(accepted)
    rows = {label: sum(pairs[label, split] for split in SPLITS) for label in labels}
    total = max(1, accepted_rows)
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


def shown(value: object, most_characters: int = SHOWN_CHARACTERS) -> str:
    """A value in one short line that no terminal, table or page reads as a command."""
    text = ascii(value)
    return text if len(text) <= most_characters else text[: most_characters - 3] + "..."


def _of_the_header(settings: DataSettings) -> list[Expectation]:
    expectations = []
    for role, column in named_columns(settings).items():
        types: tuple[str, ...] = NAME_TYPES
        kind = "text, whole numbers or true and false"
        if role == "input":
            types, kind = TEXT_TYPES, "text"
        elif role == "target" and settings.task == "regression":
            types, kind = (*NAME_TYPES, *FLOAT_TYPES), "numbers or text"
        expectations += [
            Expectation(
                f"{role}_column_present", "header", "set", "ExpectColumnToExist",
                f"the table has the column {shown(column)} that data.{role} names", printable(column),
            ),
            Expectation(
                f"{role}_column_type", "header", "set", IN_SET,
                f"the column {shown(column)} holds {kind}", printable(column), {"value_set": list(types)},
            ),
        ]  # fmt: skip
    return expectations


def _of_the_rows(settings: DataSettings) -> list[Expectation]:
    roles = list(named_columns(settings))
    inputs = {"text": _of_texts, "image": _of_images, "audio": _of_sounds}[settings.kind](settings)
    return [
        Expectation("row_readable", "lines", "row", NULL, "every row can be read", "fault"),
        *(_row(f"{role}_present", role, NOT_NULL, f"no {role} is missing") for role in roles if role[:6] != "slice."),
        *inputs,
        *(_row(f"{role}_clean", f"{role}.unclean", NULL,
               f"every {role} is valid Unicode without control characters or direction overrides") for role in roles),
        *_of_targets(settings),
        _row("id_unique", "id", "ExpectColumnValuesToBeUnique", "no two rows have the same id"),
        *([] if settings.task == "regression" else
          [_row("no_conflict", "conflict", NULL, "no input stands there twice with different labels")]),
        _row("no_straddling_duplicate", "twin", NULL,
             "no row repeats, or nearly repeats, a row on a better protected side of the split"),
    ]  # fmt: skip


def _row(name: str, column: str, kind: str, meaning: str, **bounds: JsonValue) -> Expectation:
    return Expectation(name, "rows", "row", kind, meaning, column, bounds)


def _of_texts(settings: DataSettings) -> list[Expectation]:
    longest = settings.max_characters
    return [
        _row("input_not_blank", "input.visible", BETWEEN, "every input shows at least one character", min_value=1),
        _row("input_length", "input.characters", BETWEEN, f"no input is longer than {longest:,} characters",
             max_value=longest),
    ]  # fmt: skip


def _of_images(settings: DataSettings) -> list[Expectation]:
    return [
        _row("file_there", "input.absent", NULL, "every file lies below data/ and can be read"),
        _row("input_decodable", "input.undecodable", NULL,
             f"every file is a whole PNG, JPEG or WebP image of at most {settings.max_pixels:,} pixels"),
        _row("image_side", "input.side", BETWEEN, f"no image has a side shorter than {settings.min_side:,} pixels",
             min_value=settings.min_side),
        _row("image_not_constant", "input.constant", NULL, "every image shows something"),
    ]  # fmt: skip


def _of_sounds(settings: DataSettings) -> list[Expectation]:
    shortest, longest = settings.min_seconds, settings.max_seconds
    return [
        _row("file_there", "input.absent", NULL, "every file lies below data/ and can be read"),
        _row("input_decodable", "input.undecodable", NULL, "every file is a whole WAV, FLAC, OGG or MP3 sound"),
        _row("sound_length", "input.seconds", BETWEEN, f"every sound lasts {shortest:g} to {longest:g} seconds",
             min_value=shortest, max_value=longest),
        _row("sound_not_silent", "input.silent", NULL,
             f"every sound moves further than {settings.silence_level:g} of full scale from its middle"),
    ]  # fmt: skip


def _of_targets(settings: DataSettings) -> list[Expectation]:
    if settings.task == "single_label":
        labels: list[JsonValue] = [printable(label) for label in settings.labels]
        expected = "every label is one of data.labels"
        return [_row("target_known", "target", IN_SET, expected, value_set=labels)] if labels else []
    if settings.task == "regression":
        return [_row("target_number", "target.malformed", NULL, "every target is a finite number")]
    expected = f"every target holds labels with {shown(settings.label_separator)} between them, none empty, none twice"
    known = [_row("target_known", "target.unknown", NULL, "every label is one of data.labels")]
    return [_row("target_well_formed", "target.malformed", NULL, expected), *(known if settings.labels else [])]


def _of_the_classes(settings: DataSettings) -> list[Expectation]:
    if settings.task == "regression":
        return []
    # Of several labels one may stand alone, but then some rows must be without it.
    least, most = (1, 1 - settings.min_class_share) if settings.task == "multi_label" else (MIN_CLASSES, 1)
    expectations = [
        Expectation("two_classes", "classes", "set", "ExpectTableRowCountToBeBetween",
                    "there are at least two classes" if least == MIN_CLASSES else "there is at least one class",
                    None, {"min_value": least}),
        Expectation("class_rows", "classes", "set", BETWEEN,
                    f"every class has at least {settings.min_rows_per_class} accepted rows", "rows",
                    {"min_value": settings.min_rows_per_class}),
        Expectation("class_share", "classes", "set", BETWEEN,
                    f"every class makes up at least {settings.min_class_share:.1%} of the accepted rows"
                    + (f" and at most {most:.1%}" if most < 1 else ""), "share",
                    {"min_value": settings.min_class_share, "max_value": most}),
        *(Expectation(f"class_{split}_rows", "classes", "set", BETWEEN, f"every class has a {split} row", split,
                      {"min_value": MIN_ROWS_PER_SPLIT}) for split in SPLITS),
    ]  # fmt: skip
    if not settings.labels:
        expectations.append(
            Expectation("no_misspelt_label", "classes", "set", NULL,
                        "no label looks like a misspelling of another (declare data.labels if all are meant)",
                        "resembles")
        )  # fmt: skip
    return expectations


def _of_the_set(settings: DataSettings) -> list[Expectation]:
    return [
        Expectation("has_rows", "set", "set", BETWEEN, "the table has rows", "read", {"min_value": 1}),
        Expectation("has_accepted_rows", "set", "set", BETWEEN, "some rows are fit", "accepted", {"min_value": 1}),
        Expectation("quarantined_share", "set", "set", BETWEEN,
                    f"at most {settings.max_quarantined:.2%} of the rows are faulty (data.max_quarantined)",
                    "quarantined_share", {"max_value": settings.max_quarantined}),
        # Equal targets leave nothing to learn, and nothing to measure what was learned by.
        *(Expectation(f"target_{split}_spread", "set", "set", BETWEEN, f"the targets of the {split} rows differ",
                      f"{split}_spread", {"min_value": 0, "strict_min": True})
          for split in (SPLITS if settings.task == "regression" else ())),
    ]  # fmt: skip


def _without_digits(label: str) -> str:
    return "".join(mark for mark in label if not mark.isdigit())
