"""The history of a registered model: numbered records, each written once, each naming the one before it."""

import getpass
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from graftline.errors import RegistryRefusedError
from graftline.signatures import Signer
from graftline.tasks.registry.records import Entry, Record, parse_record
from graftline.tasks.state.folder import Folder
from graftline.tasks.state.room import BusyError, Held, NoPlainFileError, Reader, Room
from graftline.tasks.state.shared import STATE, shared_state
from graftline.tasks.workspace import Workspace

# Moving an alias takes a second; who holds the lock for so long was paused. The lease of a machine that is gone ends
# sooner (state/lease.py).
LOCK_SECONDS = 90
HISTORY = "history"
# By which MLflow itself signs in, and the registry that it does so at.
ACCOUNT, REGISTRY = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_URI"
# In a history that was moved to a team's state: where it is now.
MOVED = "moved"
DONE = ".done"
NO_PLAIN_FILE = "is no plain file, but a link or something else: it was replaced"

_held: ContextVar[Held | None] = ContextVar("the lock of a model's history", default=None)


def read_history(workspace: Workspace, model: str) -> list[Record]:
    """All records, oldest first. Raises: RegistryRefusedError if one was edited or is missing."""
    records: list[Record] = []
    previous: str | None = None
    require_not_moved(workspace, model)
    room = history_room(workspace, model)
    names = room.names()
    files = room.read_ahead(names)
    for number, name in enumerate(_records(names), start=1):
        content = _content(workspace, model, files, name)
        try:
            record = parse_record(content)
        except ValueError:
            raise _broken(workspace, model, name, "is not a record of this history") from None
        if record.number != number or record.previous_sha256 != previous:
            after = f"does not follow on record {number - 1}: a record was edited or removed"
            raise _broken(workspace, model, name, after)
        if record.content != content:
            raise _broken(workspace, model, name, "was edited or removed")
        if fault := copied_from(record, model):
            raise _broken(workspace, model, name, fault)
        previous = record.sha256
        records.append(record)
    _check_marks(workspace, model, _marks(files, names), records)
    return records


def require_not_moved(workspace: Workspace, model: str) -> None:
    """Raises: RegistryRefusedError if the history in the project folder was moved to a team's state."""
    if shared_state() is not None or (note := Folder(history_folder(workspace, model)).read(MOVED)) is None:
        return
    where = json.loads(note.content)
    raise RegistryRefusedError(
        f"{model}: its history was moved to {where['state']}, with the registry {where['registry']}, and nothing is"
        f" decided here any more; set {STATE} and MLFLOW_TRACKING_URI to these two, then run the same command again"
    )


@contextmanager
def deciding(workspace: Workspace, model: str) -> Iterator[None]:
    """Keep other processes from moving this model's champion. Raises: RegistryRefusedError if one does not end."""
    with deciding_in(history_room(workspace, model), model):
        yield


@contextmanager
def deciding_in(room: Room, model: str) -> Iterator[None]:
    """The same, for a history that lies in this room."""
    try:
        with room.alone("", LOCK_SECONDS) as held:
            token = _held.set(held)
            try:
                yield
            finally:
                _held.reset(token)
    except BusyError:
        raise RegistryRefusedError(
            f"{model}: another process has been moving its champion for {LOCK_SECONDS} seconds, expected about one;"
            " let that process go on or end it, then try again"
        ) from None


def require_still_deciding(model: str) -> None:
    """To be asked just before what nobody else may come between. Raises: RegistryRefusedError."""
    held = _held.get()
    if held is not None and not held.is_sure():
        raise RegistryRefusedError(
            f"{model}: this process was paused for so long while it moved the champion that another one may have gone"
            f" on in its place; nothing was moved; see `graftline history {model}`, which finishes what is left, and"
            " then run the same command again"
        )


def next_record(after: list[Record], entry: Entry, signer: Signer | None = None) -> Record:
    """The record that follows on `after`; it is not written yet."""
    record = Record(
        **{field.name: getattr(entry, field.name) for field in fields(Entry)},
        number=len(after) + 1,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        who=who(),
        previous_sha256=after[-1].sha256 if after else None,
    )
    return record if signer is None else record.signed_by(signer)


def write_record(workspace: Workspace, model: str, record: Record) -> None:
    """Write a record under its number; of several writers only one can.

    Raises: RegistryRefusedError if another writer was first.
    """
    if not history_room(workspace, model).write_once(record_name(record.number), record.content):
        raise RegistryRefusedError(
            f"{model}: someone else decided about this model at the same moment (record {record.number});"
            f" see `graftline history {model}` and try again"
        )


def remove_drafts(workspace: Workspace, model: str) -> None:
    """Remove what killed writers left. Only while no one else decides."""
    history_room(workspace, model).remove_drafts()


def has_drafts(workspace: Workspace, model: str) -> bool:
    """Whether a killed writer left something."""
    return history_room(workspace, model).has_drafts()


def is_carried_out(workspace: Workspace, model: str, record: Record) -> bool:
    """Whether all that follows from a record was done once: what differs afterwards is someone else's doing."""
    return bool(_text(history_room(workspace, model), f"{record.number:06d}{DONE}"))


def note_carried_out(workspace: Workspace, model: str, record: Record) -> None:
    """Mark a record as carried out. The mark holds its digest, which no later record vouches for yet."""
    history_room(workspace, model).write_once(f"{record.number:06d}{DONE}", f"{record.sha256}\n".encode())


def marks(workspace: Workspace, model: str) -> dict[int, str]:
    """The digests of the records that were carried out, by number."""
    room = history_room(workspace, model)
    names = room.names()
    return _marks(room.read_ahead(names), names)


def champions(records: list[Record]) -> list[Record]:
    """The records that made the champions that can be gone back to, the present one last."""
    stack: list[Record] = []
    for record in records:
        if not record.moves or record.champion_after is None:
            continue
        if record.action == "rollback":
            stack.pop()
        else:
            stack.append(record)
    return stack


def newest_move(records: list[Record]) -> Record | None:
    """The record that made the present champion, if all went through Graftline."""
    return next((record for record in reversed(records) if record.moves), None)


def history_room(workspace: Workspace, model: str) -> Room:
    """Where the records of a model lie, with the marks of those that were carried out."""
    state = shared_state()
    return Folder(history_folder(workspace, model)) if state is None else state.room(HISTORY, model)


def histories_room(workspace: Workspace) -> Room:
    """Where the histories of all models lie."""
    state = shared_state()
    return Folder(workspace.root / "mlflow" / HISTORY) if state is None else state.room(HISTORY)


def history_folder(workspace: Workspace, model: str) -> Path:
    """Where the project folder keeps the history of a model."""
    return workspace.root / "mlflow" / HISTORY / model


def place_of(workspace: Workspace, model: str) -> str:
    """The place of a history, in a sentence."""
    return (
        f"mlflow/{HISTORY}/{model}" if shared_state() is None else history_room(workspace, model).where("").rstrip("/")
    )


def record_name(number: int) -> str:
    return f"{number:06d}.json"


def record_names(workspace: Workspace, model: str) -> list[str]:
    """Those of the files of all records, in their order."""
    return _records(history_room(workspace, model).names())


def copied_from(record: Record, model: str) -> str | None:
    """The fault of a record that is of another model's history, if it is."""
    if record.model in (None, model):
        return None
    return f"is a record of the model {record.model}: it was copied into this history"


def _records(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.endswith(".json")]


def _marks(files: Reader, names: Sequence[str]) -> dict[int, str]:
    found = [name for name in names if name.endswith(DONE) and name.removesuffix(DONE).isdecimal()]
    return {int(name.removesuffix(DONE)): _text(files, name) for name in found}


def _check_marks(workspace: Workspace, model: str, marks: Mapping[int, str], records: list[Record]) -> None:
    digests = {record.number: record.sha256 for record in records}
    for number, digest in sorted(marks.items()):
        if digests.get(number) != digest:
            raise _broken(workspace, model, record_name(number), "was edited or removed")


def _content(workspace: Workspace, model: str, files: Reader, name: str) -> bytes:
    try:
        kept = files.read(name)
    except NoPlainFileError:
        raise _broken(workspace, model, name, NO_PLAIN_FILE) from None
    if kept is None:
        raise _broken(workspace, model, name, "was edited or removed")
    return kept.content


def _text(files: Reader, name: str) -> str:
    """Of a mark, "" where there is none; what is no plain file is the mark of no record."""
    try:
        kept = files.read(name)
    except NoPlainFileError:
        return NO_PLAIN_FILE
    return "" if kept is None else kept.content.decode(errors="replace").strip()


def who() -> str:
    """Whoever runs this process, and where; before that the account, where a registry asks for one.

    That server takes nothing from who does not know the account's password; the rest is what this machine says.
    """
    here = f"{user()}@{platform.node()}"
    return f"{signed_in} ({here})" if (signed_in := account()) else here


def account() -> str | None:
    """The account by which this process signs in at the registry; None where that is a file, or asks nobody."""
    return (os.environ.get(ACCOUNT) or None) if os.environ.get(REGISTRY, "").startswith("http") else None


def user() -> str:
    """The name of whoever runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"  # a container's user need not have a name


def _broken(workspace: Workspace, model: str, name: str, what: str) -> RegistryRefusedError:
    where = history_room(workspace, model).where(name)
    return RegistryRefusedError(
        f"{where}: {what}; expected an unbroken chain of records; `graftline history {model} --verify` lists all that"
        " is wrong; restore the files from a backup before deciding anything"
    )
