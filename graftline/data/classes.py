"""The classes that rows belong to: the expectations of them, and the table that these look at."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Literal

from graftline.data.expectation import BETWEEN, NULL, Expectation
from graftline.data.label_spellings import other_spellings
from graftline.data.row_names import printable
from graftline.data.splitting import SPLITS, TWIN, Side
from graftline.settings import DataSettings

# Without one held-out row of a class nothing can be said about it.
MIN_ROWS_PER_SPLIT = 1
# A rare label this similar to a far more frequent one is more likely a slip than a class.
TYPO_SIMILARITY = 0.8
TYPO_SHARE = 0.05
# Every label is compared with every other: beyond this it would take minutes, and other expectations fail first.
MOST_LABELS_COMPARED = 300
ONE_SPELLING = "label_spelt_one_way"


def expected_of_classes(settings: DataSettings, *, least: Literal[1, 2], most_share: float) -> list[Expectation]:
    """How many classes there are at least, and how many rows each has: at most this share of them all."""
    expectations = [
        Expectation("two_classes", "classes", "set", "ExpectTableRowCountToBeBetween",
                    "there are at least two classes" if least > 1 else "there is at least one class",
                    None, {"min_value": least}),
        Expectation("class_rows", "classes", "set", BETWEEN,
                    f"every class has at least {settings.min_rows_per_class} accepted rows", "rows",
                    {"min_value": settings.min_rows_per_class}),
        Expectation("class_share", "classes", "set", BETWEEN,
                    f"every class makes up at least {settings.min_class_share:.1%} of the accepted rows"
                    + (f" and at most {most_share:.1%}" if most_share < 1 else ""), "share",
                    {"min_value": settings.min_class_share, "max_value": most_share}),
        *(Expectation(f"class_{split}_rows", "classes", "set", BETWEEN, f"every class has a {split} row", split,
                      {"min_value": MIN_ROWS_PER_SPLIT}) for split in SPLITS),
    ]  # fmt: skip
    if settings.labels:
        return expectations
    return [
        *expectations,
        Expectation(ONE_SPELLING, "classes", "set", NULL,
                    "no two labels are equal as numbers or apart from case, blanks, Unicode form or look-alike letters",
                    "spelling_of"),
        Expectation("no_misspelt_label", "classes", "set", NULL,
                    "no label looks like a misspelling of another (declare data.labels if all are meant)",
                    "resembles"),
    ]  # fmt: skip


def class_table(
    labels: Sequence[str], pairs: Mapping[tuple[str, Side], int], *, accepted_rows: int
) -> dict[str, list[str | int | float | None]]:
    """For every label the accepted rows, their share, their number on each side, and a label that it is or resembles.

    `pairs` counts each label and side of the accepted rows.
    """
    rows = {label: sum(pairs.get((label, side), 0) for side in (*SPLITS, TWIN)) for label in labels}
    total = max(1, accepted_rows)
    comparable = len(labels) <= MOST_LABELS_COMPARED
    spellings = other_spellings(rows)
    return {
        "label": [printable(label) for label in labels],
        "rows": list(rows.values()),
        "share": [count / total for count in rows.values()],
        **{split: [pairs.get((label, split), 0) for label in labels] for split in SPLITS},
        "twins": [pairs.get((label, TWIN), 0) for label in labels],
        "spelling_of": [spellings.get(label) for label in labels],
        "resembles": [likely_meant(label, rows) if comparable and label not in spellings else None for label in labels],
    }


def likely_meant(label: str, rows: Mapping[str, int]) -> str | None:
    """Another label of which this one looks like a misspelling, or None. `rows` counts each label's rows."""
    for other, count in rows.items():
        similar = difflib.SequenceMatcher(a=label, b=other).ratio() >= TYPO_SIMILARITY
        numbered = _without_digits(label) == _without_digits(other)
        if other != label and similar and not numbered and rows.get(label, 0) < count * TYPO_SHARE:
            return f"{label!a}: did you mean {other!a}?"
    return None


def _without_digits(label: str) -> str:
    return "".join(mark for mark in label if not mark.isdigit())
