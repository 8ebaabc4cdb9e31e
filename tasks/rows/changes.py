"""What is to become of rows: changed or removed ones, and new ones; and how that is written into a draft."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pydantic import JsonValue

from graftline.data.edited_tables import Edits
from graftline.data.tables import Row
from graftline.tasks.data.validation import CLASS_FOLDER_NAMES
from graftline.tasks.rows.draft import Draft, fault_of_name

FILE, CLASS_FOLDER = CLASS_FOLDER_NAMES
# A row of the next version: the line of an old row that it is or was, or of a new one its number from -1 downwards.
Key = int


@dataclass(frozen=True)
class Change:
    """What becomes of a row that is there."""

    line: int
    values: Mapping[str, str | None] = field(default_factory=dict)
    """The columns that get another value."""
    content: bytes | None = None
    """Of the file that the row names, if it gets another one."""
    is_removed: bool = False
    reasons: tuple[str, ...] = ()
    """For which it was quarantined."""
    origin: Mapping[str, JsonValue] = field(default_factory=dict)
    """What else is to be remembered of the change."""


@dataclass(frozen=True)
class Addition:
    """A new row."""

    values: Mapping[str, str | None]
    content: bytes | None = None
    """Of the file that it names."""
    origin: Mapping[str, JsonValue] = field(default_factory=dict)
    """Where it came from."""


@dataclass(frozen=True)
class Proposal:
    """Changes and new rows, by their keys."""

    changes: Mapping[Key, Change] = field(default_factory=dict)
    additions: Mapping[Key, Addition] = field(default_factory=dict)

    @property
    def keys(self) -> set[Key]:
        return {*self.changes, *self.additions}

    def without(self, keys: set[Key]) -> "Proposal":
        return Proposal(
            {key: one for key, one in self.changes.items() if key not in keys},
            {key: one for key, one in self.additions.items() if key not in keys},
        )


def faults_of_names(draft: Draft, proposal: Proposal, rows: Mapping[int, Row]) -> dict[Key, str]:
    """The changes and new rows whose files cannot be written where they say, each with the reason.

    `rows` are those of the data as they are, by line, with the input as the first value.
    """
    faults: dict[Key, str] = {}
    taken: set[str] = set()
    for key, name in _files_to_write(draft, proposal, rows):
        own = old_name(rows[key]) if key in rows else None
        if fault := fault_of_name(name):
            faults[key] = f"{name!a}: {fault}"
        elif name in taken or (name != own and draft.holds(name)):
            faults[key] = f"{name!a}: is there already"
        taken.add(name)
    return faults


def apply(draft: Draft, proposal: Proposal, rows: Mapping[int, Row]) -> None:
    """Write the proposal into a draft, which becomes the data with nothing else changed."""
    draft.reset()
    if draft.version.table.is_dir():
        _move_files(draft, proposal, rows)
    else:
        changes = proposal.changes
        removed = frozenset(line for line, change in changes.items() if change.is_removed)
        changed = {line: change.values for line, change in changes.items() if line not in removed and change.values}
        draft.edit_table(Edits(changed, removed, [one.values for one in _in_order(proposal)]))
    contents = {key: change.content for key, change in proposal.changes.items()}
    contents |= {key: addition.content for key, addition in proposal.additions.items()}
    for key, name in _files_to_write(draft, proposal, rows):
        if (content := contents[key]) is not None:
            draft.write_file(name, content)


def keys_of(draft: Draft, proposal: Proposal, old: Sequence[Row], new: Sequence[Row]) -> list[Key]:
    """Of each row of the draft its key, in the draft's order. Raises: ValueError if the draft has other rows."""
    if draft.version.table.is_dir():
        names = {old_name(row): row.line for row in old if row.line not in proposal.changes}
        names |= {name: key for key, name in _files_to_write(draft, proposal, {row.line: row for row in old})}
        return [names[old_name(row)] for row in new]
    removed = {line for line, change in proposal.changes.items() if change.is_removed}
    keys = [row.line for row in old if row.line not in removed] + sorted(proposal.additions, reverse=True)
    if len(keys) != len(new):
        raise ValueError(f"{len(new)} rows, expected {len(keys)}")
    return keys


def old_name(row: Row) -> str:
    """The file that a row names, by the path below the data's folder."""
    return (row.values[0] if row.fault is None else None) or row.raw


def _files_to_write(draft: Draft, proposal: Proposal, rows: Mapping[int, Row]) -> list[tuple[Key, str]]:
    """The names of files that get another content, or in class folders another place."""
    is_folder = draft.version.table.is_dir()
    column = FILE if is_folder else draft.settings.input
    names = [
        (key, _new_name(draft, change, rows[key]) if is_folder else change.values.get(column) or old_name(rows[key]))
        for key, change in proposal.changes.items()
        if not change.is_removed and (is_folder or change.content is not None)
    ]
    added = [(key, one.values.get(column) or "") for key, one in proposal.additions.items() if one.content is not None]
    return names + added


def _new_name(draft: Draft, change: Change, row: Row) -> str:
    """Where a file of class folders comes to lie."""
    if name := change.values.get(FILE):
        return name
    label, name = change.values.get(CLASS_FOLDER), old_name(row)
    if not label or row.fault is not None:
        return name
    parts = list(PurePosixPath(name).parts)
    start = len(draft.version.table.relative_to(draft.old).parts)
    parts[parts.index(str(row.values[1]), start)] = label
    return "/".join(parts)


def _move_files(draft: Draft, proposal: Proposal, rows: Mapping[int, Row]) -> None:
    for line, change in proposal.changes.items():
        if change.is_removed:
            draft.remove_file(old_name(rows[line]))
    for line, name in _files_to_write(draft, proposal, rows):
        if line in rows and name != old_name(rows[line]):
            draft.move_file(old_name(rows[line]), name)


def _in_order(proposal: Proposal) -> list[Addition]:
    return [proposal.additions[key] for key in sorted(proposal.additions, reverse=True)]
