"""A first look at rows that nothing is known about: which columns they have, and which may be what."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from graftline.data.class_folders import SUFFIXES
from graftline.data.tables import NUMBER, nested_as_json, read_header, read_rows
from graftline.data.targets import target_of
from graftline.settings import Kind, Task

# In the order in which they are taken.
INPUT_NAMES = (
    "text", "review", "message", "body", "content", "sentence", "comment", "description", "document", "utterance",
    "question", "tweet",
)  # fmt: skip
TARGET_NAMES = (
    "label", "labels", "target", "class", "category", "categories", "sentiment", "topic", "topics", "intent", "tags",
    "tag", "genre", "genres", "rating", "score", "stars", "y",
)  # fmt: skip
# So many rows say what a column holds.
MOST_ROWS = 200_000
MOST_CLASSES = 100
# Whole numbers with more values than this are numbers and no classes: ratings and grades have fewer.
MOST_CLASSES_OF_NUMBERS = 20
SEPARATORS = ("|", ";", ",")
# Stands between the labels of a list, as data.label_separator does if nothing else is said.
IN_LISTS = SEPARATORS[0]
FEW_VALUES = 12


@dataclass
class Column:
    """What was seen in a column."""

    name: str
    filled: int = 0
    characters: int = 0
    words: int = 0
    numbers: int = 0
    longest: int = 0
    lists: int = 0
    """The values that are lists of labels."""
    paths: dict[Kind, int] = field(default_factory=lambda: {"image": 0, "audio": 0})
    values: Counter[str] = field(default_factory=Counter)

    def add(self, value: str) -> None:
        self.filled += 1
        self.characters += len(value)
        self.words += value.count(" ") + 1
        self.longest = max(self.longest, len(value))
        self.numbers += NUMBER.fullmatch(value.strip()) is not None
        for kind, suffixes in SUFFIXES.items():
            self.paths[kind] += value.lower().endswith(suffixes)
        self.values[value] += 1

    @property
    def is_unique(self) -> bool:
        return 1 < self.filled == len(self.values)

    @property
    def mean_words(self) -> float:
        return self.words / max(1, self.filled)

    @property
    def holds_numbers(self) -> bool:
        return 0 < self.filled == self.numbers


@dataclass(frozen=True)
class Look:
    """The columns of a table, in its order, and how many rows were looked at."""

    rows: int
    columns: Mapping[str, Column]


def look_at_table(path: Path) -> Look:
    """Read the table's beginning. Raises: DataRefusedError if it is none."""
    names = list(read_header(path))
    columns = [Column(name) for name in names]
    by_name = {column.name: column for column in columns}
    rows = 0
    for row in read_rows(path, names, nested=lambda name, value: _labels(by_name[name], value)):
        if row.fault is None:
            rows += 1
            for column, value in zip(columns, row.values, strict=True):
                if value:
                    column.add(value)
        if rows >= MOST_ROWS:
            break
    return Look(rows, by_name)


def _labels(column: Column, value: object) -> str | None:
    try:
        target = target_of(value, IN_LISTS) if isinstance(value, list) else nested_as_json(column.name, value)
    except ValueError:
        return nested_as_json(column.name, value)
    column.lists += isinstance(value, list)
    return target


def media_column(look: Look) -> tuple[str, Kind] | None:
    """The column that names pictures or sounds, and which of them."""
    for column in look.columns.values():
        for kind, paths in column.paths.items():
            if paths and paths >= 0.9 * column.filled:
                return column.name, kind
    return None


def possible_inputs(look: Look, target: str | None = None) -> list[str]:
    """The columns that may hold the texts: one if it is plain which."""
    others = [column for column in look.columns.values() if column.name != target]
    if named := _named(INPUT_NAMES, others):
        return named[:1]
    texts = sorted((c for c in others if not c.holds_numbers and c.mean_words >= 2), key=lambda c: -c.mean_words)
    # The longest texts by far, or nobody can tell.
    plain = len(texts) == 1 or (len(texts) > 1 and texts[0].mean_words >= 3 * texts[1].mean_words)
    if plain:
        return [texts[0].name]
    return [column.name for column in texts or others]


def possible_targets(look: Look, used: str | None) -> list[str]:
    """The columns that may hold the answers: one if it is plain which."""
    others = [column for column in look.columns.values() if column.name != used]
    if named := _named(TARGET_NAMES, others):
        return named[:1]
    if len(others) > 1:
        fitting = [c for c in others if not c.is_unique and 2 <= len(c.values) <= max(MOST_CLASSES, look.rows // 5)]
        others = fitting or others
    return [column.name for column in others]


def task_of(column: Column) -> tuple[Task, str]:
    """The kind of answer that a column holds, and what stands between several labels."""
    if column.lists:
        return "multi_label", IN_LISTS
    whole = all(re.fullmatch(r"\s*[-+]?\d+\s*", value) for value in column.values)
    if column.holds_numbers and not (whole and len(column.values) <= MOST_CLASSES_OF_NUMBERS):
        return "regression", "|"
    for separator in SEPARATORS:
        if _stands_between_labels(separator, column.values):
            return "multi_label", separator
    return "single_label", "|"


def label_counts(column: Column, task: Task, separator: str) -> Counter[str]:
    """The rows of each label."""
    if task == "single_label":
        return column.values
    counts: Counter[str] = Counter()
    for value, rows in column.values.items():
        for label in filter(None, map(str.strip, value.split(separator))):
            counts[label] += rows
    return counts


def few_valued(look: Look, used: Iterable[str | None]) -> list[str]:
    """The columns that divide the rows into a few groups."""
    return [
        column.name
        for column in look.columns.values()
        if column.name not in set(used) and 2 <= len(column.values) <= FEW_VALUES and column.filled >= 0.5 * look.rows
    ]


def name_column(look: Look, used: Iterable[str | None]) -> str | None:
    """The column that names the rows."""
    fitting = (c for c in look.columns.values() if c.name not in set(used) and c.is_unique and c.filled == look.rows)
    return next((c.name for c in fitting if re.search(r"(^|_)(id|key|number|uuid)$", c.name.lower())), None)


def _named(names: Sequence[str], columns: Iterable[Column]) -> list[str]:
    by_name = {column.name.strip().lower(): column.name for column in columns}
    return [by_name[name] for name in names if name in by_name]


def _stands_between_labels(separator: str, values: Counter[str]) -> bool:
    rows = values.total()
    divided = sum(count for value, count in values.items() if separator in value.strip(separator))
    if divided < 0.02 * rows:
        return False
    parts = Counter[str]()
    for value, count in values.items():
        for part in filter(None, map(str.strip, value.split(separator))):
            parts[part] += count
    # Labels come back in other company; what commas divide in a text does not.
    return (
        len(parts) <= MOST_CLASSES
        and sorted(parts.values())[len(parts) // 4] >= 2
        and max(len(part) for part in parts) <= 60
    )
