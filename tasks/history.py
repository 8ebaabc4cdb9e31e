"""The history of a registered model: numbered records, each written once, each naming the one before it."""

import getpass
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

from filelock import FileLock, Timeout

from graftline.digests import json_sha256
from graftline.errors import RegistryRefusedError
from graftline.files import sync_folder, write_atomically
from tasks.artifacts import Workspace

Action = Literal["verdict", "promote", "rollback"]
# Moving an alias takes a second; who holds the lock for so long was paused.
LOCK_SECONDS = 60


@dataclass(frozen=True)
class Record:
    """One decision: who, when, from which champion to which, and why."""

    number: int
    when: str
    """UTC, ISO 8601."""
    who: str
    action: Action
    verdict: str | None
    version: int
    """The version that was judged or moved."""
    champion_before: int | None
    champion_after: int | None
    why: str
    evaluation_sha256: str | None
    previous_sha256: str | None
    """Digest of the record before this one."""

    @property
    def moves(self) -> bool:
        """Whether the champion changes with it."""
        return self.champion_before != self.champion_after


def read_history(workspace: Workspace, model: str) -> list[Record]:
    """All records, oldest first. Raises: RegistryRefusedError if one was edited or is missing."""
    records: list[Record] = []
    previous: str | None = None
    for number, path in enumerate(sorted(_folder(workspace, model).glob("*.json")), start=1):
        try:
            record = Record(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise _broken(path, "is not a record of this history") from None
        if record.number != number or record.previous_sha256 != previous:
            raise _broken(path, f"does not follow on record {number - 1}: a record was edited or removed")
        previous = _sha256(record)
        records.append(record)
    _check_marks(workspace, model, records)
    return records


@contextmanager
def deciding(workspace: Workspace, model: str) -> Iterator[None]:
    """Keep other processes from moving this model's champion. Raises: RegistryRefusedError if one does not end."""
    folder = _folder(workspace, model)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise RegistryRefusedError(
            f"{model}: another process has been moving its champion for {LOCK_SECONDS} seconds, expected about one;"
            " let that process go on or end it, then try again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def append_record(
    workspace: Workspace,
    model: str,
    *,
    after: list[Record],
    action: Action,
    version: int,
    champion_before: int | None,
    champion_after: int | None,
    why: str,
    verdict: str | None = None,
    evaluation_sha256: str | None = None,
) -> Record:
    """Write the record that follows on `after`; of several writers only one can.

    Raises: RegistryRefusedError if another writer was first.
    """
    record = Record(
        number=len(after) + 1,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        who=f"{_user()}@{platform.node()}",
        action=action,
        verdict=verdict,
        version=version,
        champion_before=champion_before,
        champion_after=champion_after,
        why=why,
        evaluation_sha256=evaluation_sha256,
        previous_sha256=_sha256(after[-1]) if after else None,
    )
    folder = _folder(workspace, model)
    folder.mkdir(parents=True, exist_ok=True)
    content = (json.dumps(asdict(record), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    draft = folder / f".{record.number:06d}.{uuid4().hex}.draft"
    draft.write_bytes(content)
    try:
        # A link appears whole or not at all, and only for the first who asks.
        os.link(draft, folder / f"{record.number:06d}.json")
    except FileExistsError:
        raise RegistryRefusedError(
            f"{model}: someone else decided about this model at the same moment (record {record.number});"
            f" see `graftline history {model}` and try again"
        ) from None
    finally:
        draft.unlink()
    sync_folder(folder)
    if not record.moves:
        note_carried_out(workspace, model, record)
    return record


def is_carried_out(workspace: Workspace, model: str, record: Record) -> bool:
    """Whether the champion was seen where the record puts it: from then on it is elsewhere by someone else's doing."""
    return _mark(workspace, model, record.number).exists()


def note_carried_out(workspace: Workspace, model: str, record: Record) -> None:
    """Mark a record as carried out. The mark holds its digest, which no later record vouches for yet."""
    write_atomically(_mark(workspace, model, record.number), _sha256(record) + "\n")


def verdict_record(records: list[Record], version: int) -> Record | None:
    """The record of the verdict on a version, if it was judged."""
    return next((record for record in records if record.action == "verdict" and record.version == version), None)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"  # a container's user need not have a name


def champions(records: list[Record]) -> list[int]:
    """The champions that can be gone back to, the present one last."""
    stack: list[int] = []
    for record in records:
        if not record.moves or record.champion_after is None:
            continue
        if record.action == "rollback":
            stack.pop()
        else:
            stack.append(record.champion_after)
    return stack


def _check_marks(workspace: Workspace, model: str, records: list[Record]) -> None:
    digests = {record.number: _sha256(record) for record in records}
    for path in sorted(_folder(workspace, model).glob("*.done")):
        if digests.get(int(path.stem)) != path.read_text(encoding="utf-8").strip():
            raise _broken(path.with_suffix(".json"), "was edited or removed")


def _mark(workspace: Workspace, model: str, number: int) -> Path:
    return _folder(workspace, model) / f"{number:06d}.done"


def _folder(workspace: Workspace, model: str) -> Path:
    return workspace.root / "mlflow" / "history" / model


def _sha256(record: Record) -> str:
    return json_sha256(asdict(record))


def _broken(path: Path, what: str) -> RegistryRefusedError:
    return RegistryRefusedError(
        f"{path}: {what}; expected an unbroken chain of records;"
        " restore the file from a backup before deciding anything"
    )
