"""The facts that the expectations look at: for every row its parts, its split, and what speaks against it."""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from graftline.data.columns import BATCH_ROWS, Column, Fact, GrowingColumns, raw
from graftline.data.media_files import MediaFile
from graftline.data.numbering import Numbers, digests, numbered
from graftline.data.row_conflicts import Labels, first_conflicts
from graftline.data.row_names import content_names, normalised, numbered_names, printable, shown_texts
from graftline.data.row_table import RowTable
from graftline.data.split_column import SplitColumn
from graftline.data.splitting import SPLITS, Split, side_with_folders
from graftline.data.tables import Row
from graftline.data.target_kind import TargetKind
from graftline.settings import DataSettings

# Lone surrogates (undecodable bytes), U+FFFD and non-characters; control characters other than tab and line ends;
# overrides that make a text read differently from what it is.
UNCLEAN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff\ufffd\ufffe\uffff]|\r(?!\n)")
# In Pillow's words.
WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")

# In front of the name of a target beside the first one.
FURTHER = "further."
# What is gathered beside the facts that are judged.
CONTENT, NAME = "content", "name"


@dataclass(frozen=True)
class RowFacts:
    """The rows that could be read, and one column for each fact about them, in the same order.

    What is as long as the rows lies in files, but for their lines, their sides, and the hashes of images.
    """

    rows: RowTable
    ids: Column
    splits: SplitColumn
    columns: dict[str, Column]
    contents: Column
    """Equal where two inputs are the same."""
    hashes: list[int]
    """The perceptual hashes of images."""


def named_columns(settings: DataSettings, targets: TargetKind) -> dict[str, str]:
    """The table's columns that the settings name, by what they are for."""
    columns = {"input": settings.input} if targets.absent else {"input": settings.input, "target": settings.target}
    columns |= {"id": settings.id} if settings.id else {}
    columns |= {"group": settings.group} if settings.group else {}
    columns |= {f"slice.{name}": name for name in settings.slices}
    return columns | {further_role(name): name for name in targets.further}


def further_role(name: str) -> str:
    """What a column is for that is learned beside the first target."""
    return f"{FURTHER}{name}"


def row_facts(
    rows: Sequence[Row],
    settings: DataSettings,
    targets: TargetKind,
    files: Mapping[int, MediaFile] = MappingProxyType({}),
) -> RowFacts:
    """The facts about the readable rows among `rows`, whose values stand in the order of `named_columns`.

    `files` holds by line what is known of the files that the rows name, where the input is an image or a sound.
    """
    import pyarrow as pa

    readable = (rows if isinstance(rows, RowTable) else RowTable.of(rows)).readable
    seen = _seen_one_by_one(readable, settings, targets, files)
    facts, contents, names = dict(seen.columns), seen.columns[CONTENT], seen.columns[NAME]
    del facts[CONTENT], facts[NAME]
    ids = names if settings.id else numbered_names(names)
    for place, role in enumerate(named_columns(settings, targets)):
        if role not in facts:  # a target's column holds what is meant by it
            facts[role] = shown_texts(readable.values[place]) if readable.values else Column(pa.nulls(0))
    facts["id"] = facts["id"] if settings.id else ids
    facts["line"] = Column(pa.array(readable.lines))
    facts["conflict"] = first_conflicts(seen.labels, seen.content, readable.lines)
    return RowFacts(readable, ids, seen.splits, facts, contents, seen.hashes)


@dataclass(frozen=True)
class _Seen:
    """The facts about all rows that follow from each row by itself."""

    columns: dict[str, Column]
    content: Numbers
    """Which content each row has."""
    splits: SplitColumn
    labels: list[Labels]
    """Of each target of which two may contradict."""
    hashes: list[int]


def _seen_one_by_one(
    rows: RowTable, settings: DataSettings, targets: TargetKind, files: Mapping[int, MediaFile]
) -> _Seen:
    given = {None if side < 0 else SPLITS[side] for side in np.unique(rows.sides).tolist()}
    columns, hashes = GrowingColumns(), list[int]()
    of_contents, sides = np.empty((len(rows), 2), np.uint64), np.empty(len(rows), np.int8)
    labels = {role: Labels() for role, kind, _ in targets_of(settings, targets) if kind.may_conflict}
    for start in range(0, max(1, len(rows)), BATCH_ROWS):  # of no rows as well there are columns
        some = slice(start, start + BATCH_ROWS)
        batch = _facts_of_some(rows[some], settings, targets, files, given)
        contents = [text.encode("utf-8", "surrogatepass") for text in batch.inputs.contents]
        names = raw(batch.ids) if settings.id else content_names(batch.inputs.names)
        columns.add({**batch.columns, CONTENT: contents, NAME: names})
        of_contents[some], sides[some] = digests(contents), SplitColumn.of(batch.splits).places
        hashes += batch.inputs.hashes
        for role, one in labels.items():
            one.add(batch.fit[role])
    return _Seen(columns.done(), numbered(of_contents), SplitColumn(sides), list(labels.values()), hashes)


@dataclass(frozen=True)
class _Some:
    """The facts about a batch of rows."""

    columns: dict[str, list[Fact]]
    inputs: "_Inputs"
    ids: list[str | None]
    splits: list[Split]
    fit: dict[str, list[str | None]]
    """For each target of which two may contradict: the target of each row without a fault of its own."""


def _facts_of_some(
    rows: RowTable,
    settings: DataSettings,
    targets: TargetKind,
    files: Mapping[int, MediaFile],
    given: Collection[Split | None],
) -> _Some:
    roles = list(named_columns(settings, targets))
    # An empty cell is a missing value.
    values = rows.values or [()] * len(roles)
    parts = {role: [str(one) if one else None for one in values[place]] for place, role in enumerate(roles)}
    if settings.kind == "text":
        inputs = _text_inputs(parts["input"])
    else:
        inputs = _media_inputs(parts["input"], [files.get(line, MediaFile()) for line in rows.lines.tolist()])
    groups = [group or content for group, content in
              zip(parts.get("group", [None] * len(rows)), inputs.contents, strict=True)]  # fmt: skip
    splits = _splits(rows.split_sides, given, groups, settings)
    columns: dict[str, list[Fact]] = {
        f"{role}.unclean": [_unclean(text) for text in texts] for role, texts in parts.items()
    }
    columns |= inputs.columns
    fit: dict[str, list[str | None]] = {}
    for role, kind, own in targets_of(settings, targets):
        texts = parts.get(role, [None] * len(rows))
        written = [None if text is None else kind.canonical(text, own) for text in texts]
        columns |= _target_facts(role, kind, own, texts, written)
        faults = zip(columns[f"{role}.malformed"], columns[f"{role}.unknown"], inputs.is_comparable, strict=True)
        fit[role] = [
            text if is_comparable and malformed is None and unknown is None else None
            for text, (malformed, unknown, is_comparable) in zip(written, faults, strict=True)
        ]
    if targets.further:
        columns["targets.missing"] = _without_any(columns, settings)
    return _Some(columns, inputs, parts.get("id", []), splits, fit)


def targets_of(settings: DataSettings, targets: TargetKind) -> Iterator[tuple[str, TargetKind, DataSettings]]:
    """What each target's column is for, its kind, and the settings as if it were the only one; the first one first."""
    yield "target", targets, settings
    for name, kind in targets.further.items():
        yield further_role(name), kind, settings.of_target(name)


def _target_facts(
    role: str,
    kind: TargetKind,
    settings: DataSettings,
    texts: Sequence[str | None],
    written: Sequence[str | None],
) -> dict[str, list[Fact]]:
    return {
        role: [_safe(text) for text in written],
        f"{role}.malformed": [text and kind.malformed(text, settings) for text in texts],
        f"{role}.unknown": [None if text is None else _safe(kind.unknown(text, settings)) for text in written],
    }


def _without_any(columns: Mapping[str, Sequence[Fact]], settings: DataSettings) -> list[Fact]:
    """Of each row that lacks every target what it lacks."""
    roles = {"target": settings.target, **{further_role(target.name): target.name for target in settings.further}}
    said = f"none of {', '.join(map(printable, roles.values()))} is there"
    return [None if any(row) else said for row in zip(*(columns[role] for role in roles), strict=True)]


def _splits(
    sides: Sequence[Split | None], given: Collection[Split | None], groups: Sequence[str], settings: DataSettings
) -> list[Split]:
    test, validation = settings.test_share, settings.validation_share
    return [
        side_with_folders(side, given, group, test_share=test, validation_share=validation)
        for side, group in zip(sides, groups, strict=True)
    ]


@dataclass(frozen=True)
class _Inputs:
    """Facts about the inputs, of any kind."""

    contents: list[str]
    """Equal where two inputs are the same."""
    is_comparable: list[bool]
    """Of inputs without a fault of their own: a row that is faulty anyway may not take another one with it."""
    names: list[str]
    """The text after which a row without an id is named."""
    columns: dict[str, list[Fact]]
    hashes: list[int] = field(default_factory=list)
    """The perceptual hashes of images."""


def _text_inputs(texts: Sequence[str | None]) -> _Inputs:
    contents = [normalised(text or "") for text in texts]
    columns: dict[str, list[Fact]] = {
        "input.characters": [None if text is None else len(text) for text in texts],
        "input.visible": [None if text is None else len(seen) for text, seen in zip(texts, contents, strict=True)],
    }
    return _Inputs(contents, [bool(content) for content in contents], [text or "" for text in texts], columns)


def _media_inputs(paths: Sequence[str | None], files: Sequence[MediaFile]) -> _Inputs:
    from graftline.data.images import ImageFacts
    from graftline.data.sounds import SoundFacts

    facts = [file.facts for file in files]
    images = [one if isinstance(one, ImageFacts) else None for one in facts]
    sounds = [one if isinstance(one, SoundFacts) else None for one in facts]
    contents = [one.sha256 if one else path or "" for one, path in zip(facts, paths, strict=True)]
    columns: dict[str, list[Fact]] = {
        "input.absent": [file.absent and printable(file.absent) for file in files],
        "input.undecodable": [file.undecodable and printable(file.undecodable) for file in files],
        "input.sha256": [file.sha256 for file in files],
        "input.side": [min(one.width, one.height) if one else None for one in images],
        "input.constant": [_constant(one.mode) if one and one.is_constant else None for one in images],
        "input.seconds": [one.seconds if one else None for one in sounds],
        "input.silent": [f"the peak is {one.peak:.6f}" if one and one.is_silent else None for one in sounds],
    }
    is_comparable = [
        one is not None and constant is None and silent is None
        for one, constant, silent in zip(facts, columns["input.constant"], columns["input.silent"], strict=True)
    ]
    return _Inputs(contents, is_comparable, contents, columns, [one.perceptual_hash if one else 0 for one in images])


def _constant(mode: str) -> str:
    """What is said of a picture of one colour: of a white drawing on nothing that it would have been seen on black."""
    beside = ", with its transparent parts shown on white; give it a background" if mode in WITH_ALPHA else ""
    return f"every pixel has the same colour{beside}"


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
