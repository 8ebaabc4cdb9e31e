"""What the expectations look at: for every row its parts, its split, and what speaks against it."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from graftline.duplicates import straddling
from graftline.rows import content_ids, normalised, printable
from graftline.settings import DataSettings
from graftline.splitting import Split, split_of
from graftline.tables import Row

# Lone surrogates (undecodable bytes), U+FFFD and non-characters; control characters other than tab and line ends;
# overrides that make a text read differently from what it is.
UNCLEAN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff\ufffd\ufffe\uffff]|\r(?!\n)")

Fact = str | int | None


@dataclass(frozen=True)
class RowFacts:
    """The rows that could be read, and one list of facts per column, in the same order."""

    rows: list[Row]
    ids: list[str | None]
    splits: list[Split]
    columns: dict[str, list[Fact]]


def named_columns(settings: DataSettings) -> dict[str, str]:
    """The table's columns that the settings name, by what they are for."""
    columns = {"input": settings.input, "target": settings.target}
    columns |= {"id": settings.id} if settings.id else {}
    columns |= {"group": settings.group} if settings.group else {}
    return columns | {f"slice.{name}": name for name in settings.slices}


def row_facts(rows: Sequence[Row], settings: DataSettings) -> RowFacts:
    """The facts about the readable rows among `rows`, whose values stand in the order of `named_columns`."""
    readable = [row for row in rows if row.fault is None]
    roles = list(named_columns(settings))
    parts = {role: [_present(row.values[place]) for row in readable] for place, role in enumerate(roles)}
    contents = [normalised(text or "") for text in parts["input"]]
    splits = [
        split_of(group or content, test_share=settings.test_share, validation_share=settings.validation_share)
        for group, content in zip(parts.get("group", [None] * len(readable)), contents, strict=True)
    ]
    ids = parts["id"] if settings.id else list(content_ids(text or "" for text in parts["input"]))
    columns: dict[str, list[Fact]] = {role: [_safe(text) for text in texts] for role, texts in parts.items()}
    columns |= {f"{role}.unclean": [_unclean(text) for text in texts] for role, texts in parts.items()}
    columns["id"] = [_safe(name) for name in ids]
    columns["line"] = [row.line for row in readable]
    columns["input.characters"] = [None if text is None else len(text) for text in parts["input"]]
    columns["input.visible"] = [
        None if text is None else len(content) for text, content in zip(parts["input"], contents, strict=True)
    ]
    comparable = _comparable(contents, parts["target"], settings)
    conflicts = _conflicts(comparable, contents, parts["target"], readable)
    columns["conflict"] = [conflicts.get(index) for index in range(len(readable))]
    twins = _twins([index for index in comparable if index not in conflicts], contents, splits, readable, settings)
    columns["twin"] = [twins.get(index) for index in range(len(readable))]
    return RowFacts(readable, list(ids), splits, columns)


def _present(text: str | None) -> str | None:
    """An empty cell is a missing value."""
    return text or None


def _safe(text: str | None) -> str | None:
    return None if text is None else printable(text)


def _unclean(text: str | None) -> str | None:
    """The first character that does not belong into a text, and where."""
    if text is None or not (match := UNCLEAN.search(text)):
        return None
    mark = ord(match.group())
    if 0xDC80 <= mark <= 0xDCFF:
        return f"byte 0x{mark - 0xDC00:02x} at character {match.start() + 1} is not UTF-8 (is the file Latin-1?)"
    name = unicodedata.name(match.group(), "a control character" if mark < 0xD800 else "no character")
    return f"U+{mark:04X} ({name}) at character {match.start() + 1}"


def _comparable(contents: Sequence[str], labels: Sequence[str | None], settings: DataSettings) -> list[int]:
    """The rows that can conflict: a row that is faulty anyway may not take another one with it."""
    return [
        index
        for index, (content, label) in enumerate(zip(contents, labels, strict=True))
        if content and label is not None and (not settings.labels or label in settings.labels)
    ]


def _conflicts(
    comparable: Sequence[int], contents: Sequence[str], labels: Sequence[str | None], rows: Sequence[Row]
) -> dict[int, str]:
    alike = defaultdict(list)
    for index in comparable:
        alike[contents[index]].append(index)
    conflicts = {}
    for indices in alike.values():
        for index in indices if len({labels[index] for index in indices}) > 1 else []:
            other = next(other for other in indices if labels[other] != labels[index])
            conflicts[index] = f"line {rows[other].line} has the same input with label {labels[other]!a}"
    return conflicts


def _twins(
    indices: Sequence[int],
    contents: Sequence[str],
    splits: Sequence[Split],
    rows: Sequence[Row],
    settings: DataSettings,
) -> dict[int, str]:
    found = straddling(
        [contents[index] for index in indices],
        [splits[index] for index in indices],
        similarity=settings.near_duplicate_similarity,
    )
    return {
        indices[place]: f"line {rows[indices[twin.index]].line}, a {twin.split} row, shares {twin.similarity:.2f}"
        f" of its word triples with this {splits[indices[place]]} row"
        for place, twin in found.items()
    }
