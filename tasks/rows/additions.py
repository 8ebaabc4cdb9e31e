"""New rows of the labels that came later: which inputs the data hold already, and what the others look like in them."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.data.arrow_values import LIST_OF_LABELS, as_json
from graftline.data.class_folders import split_folders
from graftline.data.media_files import UnreadableFileError, read_below
from graftline.data.row_names import normalised
from graftline.data.splitting import SPLITS, TWIN, Side
from graftline.data.tables import Row, read_header, read_rows
from graftline.data.targets import labels_in
from graftline.settings import DataSettings
from graftline.tasks.data.dvc_folder import objects_folder
from graftline.tasks.data.files import DataVersion
from graftline.tasks.rows.admission import Looked, leaks
from graftline.tasks.rows.changes import CLASS_FOLDER, FILE, Addition, Key, Proposal
from graftline.tasks.rows.draft import Draft
from graftline.tasks.rows.feedback import Fate, Feedback, FeedbackRow
from graftline.tasks.rows.mend_table import rows_of
from graftline.tasks.workspace import Workspace
from graftline.wording import shown

DIGEST_CHARACTERS = 16
# The folder of new files below the data, and what a file begins with that is named so.
NEW_FILES = "feedback"
BEGINNINGS = {
    b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"fLaC": ".flac", b"OggS": ".ogg",
}  # fmt: skip
RIFF = {b"WEBP": ".webp", b"WAVE": ".wav"}
OTHER = {"image": ".jpg", "audio": ".mp3"}


@dataclass(frozen=True)
class KnownInputs:
    """The inputs of the data with their targets."""

    targets: Mapping[str, frozenset[str]]
    """By the digest of an input, and of a text by its normalised content as well."""

    def of(self, row: FeedbackRow, settings: DataSettings) -> frozenset[str] | None:
        """The targets that the input of a row has in the data; None where they do not hold it."""
        names = [row.digest or ""]
        if settings.kind == "text" and row.content:
            names.append(normalised(row.content.decode("utf-8", "surrogatepass")))
        return next((self.targets[name] for name in names if name in self.targets), None)


def known_inputs(workspace: Workspace, settings: DataSettings, version: DataVersion) -> KnownInputs:
    """The inputs that the data hold, read as they stand there."""
    found: dict[str, set[str]] = {}
    targets = TASKS[settings.task].targets
    for row in _input_and_target(workspace, settings, version):
        said, target = row.values if row.fault is None else (None, None)
        for name in _names(workspace, settings, said) if said and target else ():
            found.setdefault(name, set()).add(targets.canonical(str(target), settings))
    return KnownInputs({name: frozenset(held) for name, held in found.items()})


def compared_with_data(feedback: Feedback, known: KnownInputs, settings: DataSettings) -> Feedback:
    """The feedback, in which a row whose input the data hold says so."""
    return Feedback(tuple(_compared(row, known.of(row, settings)) for row in feedback.rows), feedback.unreadable_logs)


def proposal_of(feedback: Feedback, draft: Draft) -> tuple[Proposal, dict[Key, int]]:
    """New rows for all that are ready, and of each key the place of its feedback."""
    ready = [place for place, row in enumerate(feedback.rows) if row.fate == "ready"]
    places = {-number: place for number, place in enumerate(ready, start=1)}
    name_rows = _row_names(draft)
    additions = {key: _addition(feedback.rows[place], draft, name_rows) for key, place in places.items()}
    return Proposal(additions=additions), places


@dataclass
class Objector:
    """Keeps of the new rows out what may not stand beside the held-out ones, and remembers why."""

    draft: Draft
    at_random: bool
    fates: dict[Key, Fate]

    def __call__(self, old: Looked, new: Looked, keys: set[Key]) -> dict[Key, str]:
        held_out: list[Side] = [side for side in SPLITS if side != "train"]
        near = leaks(self.draft, old, new, keys, beside={split: [*held_out, TWIN] for split in SPLITS})
        self.fates |= dict.fromkeys(near, "near a held-out row")
        held: dict[Key, str] = {}
        if not self.at_random:
            held = {
                key: f"its place in the split is {new.accepted[key].split}"
                for key in keys - near.keys()
                if key in new.accepted and new.accepted[key].split != "train"
            }
        self.fates |= dict.fromkeys(held, "held out")
        return near | held


def _compared(row: FeedbackRow, targets: frozenset[str] | None) -> FeedbackRow:
    if targets is None or row.fate not in ("ready", "no input"):
        return row
    if targets == {row.label}:
        return row.ends("known")
    said = " and ".join(shown(target) for target in sorted(targets))
    return row.ends("contradicts the data", f"labelled {shown(row.label)}, there {said}")


def _input_and_target(workspace: Workspace, settings: DataSettings, version: DataVersion) -> Iterable[Row]:
    if version.table.is_dir():
        return rows_of(workspace, settings, version)[1]

    def nested(column: str, value: object) -> str | None:
        if column == settings.target and isinstance(value, list):
            return TASKS[settings.task].targets.from_list(value, settings)
        return as_json(value)

    return read_rows(version.table, [settings.input, settings.target], nested=nested)


def _names(workspace: Workspace, settings: DataSettings, said: str) -> list[str]:
    if settings.kind == "text":
        return [hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest(), normalised(said)]
    try:
        content = read_below(workspace.root / settings.folder, said, cache=objects_folder(workspace.root))
    except UnreadableFileError:
        return []
    return [hashlib.sha256(content).hexdigest()]


def _addition(row: FeedbackRow, draft: Draft, name_rows: "_RowNames") -> Addition:
    settings = draft.settings
    is_media = settings.kind != "text"
    origin: dict[str, JsonValue] = {
        "feedback": row.id, "file": row.file, "line": row.line, "by": row.by, "time": row.time, "label": row.label,
        "answer": row.served.answer if row.served else "", "model_version": row.served.version if row.served else 0,
    }  # fmt: skip
    if draft.version.table.is_dir():
        return Addition({FILE: _class_file(row, draft), CLASS_FOLDER: row.label}, row.content, origin)
    header = read_header(draft.version.table)
    values: dict[str, str | None] = {name: text for name, text in row.more.items() if name in header}
    values[settings.input] = _new_file(row, settings) if is_media else row.content.decode("utf-8", "surrogatepass")
    values[settings.target] = as_cell(row.label, header[settings.target], settings)
    if settings.id:
        values[settings.id] = name_rows.next(row)
    return Addition(values, row.content if is_media else None, origin)


def as_cell(label: str, column_type: str, settings: DataSettings) -> str:
    """The label as the target's column holds it."""
    if column_type == LIST_OF_LABELS:
        return as_json(list(labels_in(label, settings.label_separator)))
    return label


@dataclass
class _RowNames:
    """Names for new rows that no row has: whole numbers go on, others are made from the input."""

    taken: set[str]
    numbers: int | None

    def next(self, row: FeedbackRow) -> str:
        if self.numbers is not None:
            self.numbers += 1
            return str(self.numbers)
        base = name = f"feedback-{str(row.digest)[:DIGEST_CHARACTERS]}"
        number = 1
        while name in self.taken:
            number += 1
            name = f"{base}-{number}"
        self.taken.add(name)
        return name


def _row_names(draft: Draft) -> _RowNames:
    if draft.version.table.is_dir() or not draft.settings.id:
        return _RowNames(set(), None)
    rows = read_rows(draft.version.table, [draft.settings.id], nested=lambda _, value: as_json(value))
    taken = {row.values[0] for row in rows if row.values[0]}
    is_counted = bool(taken) and all(name.isascii() and name.isdigit() for name in taken)
    return _RowNames(taken, max(int(name) for name in taken) if is_counted else None)


def _new_file(row: FeedbackRow, settings: DataSettings) -> str:
    return f"{NEW_FILES}/{str(row.digest)[:DIGEST_CHARACTERS]}{_suffix(row.content, settings)}"


def _class_file(row: FeedbackRow, draft: Draft) -> str:
    """Where a file of that label comes to lie: where data bring folders of a split, in that which is learned from."""
    table = draft.version.table
    start = table.relative_to(draft.old).parts
    train = [name for name, side in split_folders(table).items() if side == "train"][:1]
    # A label that is a path would lead elsewhere: its row is refused by the name of its file.
    label = row.label if len(PurePosixPath(row.label).parts) == 1 and "/" not in row.label else ".."
    name = f"{str(row.digest)[:DIGEST_CHARACTERS]}{_suffix(row.content, draft.settings)}"
    return "/".join([*start, *train, label, name])


def _suffix(content: bytes, settings: DataSettings) -> str:
    if content[:4] == b"RIFF":
        return RIFF.get(content[8:12], ".wav")
    assert settings.kind != "text"
    return next((suffix for mark, suffix in BEGINNINGS.items() if content.startswith(mark)), OTHER[settings.kind])
