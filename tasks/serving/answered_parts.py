"""Answers on their way into a table, in parts: those that are whole outlive a kill, and the next run goes on from them.

Beside the table to be lies a folder with a file for each part, one JSON list of cells in each line, and a note that
says what was read for it. A note is written last: without one, its part counts as not made.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import JsonValue, TypeAdapter, ValidationError

from graftline.data.written_tables import Cell, Type, require_place_for_table, written_table
from graftline.digests import file_sha256
from graftline.errors import SettingsError
from graftline.files import sync_folder, write_json

LOCK, PLAN = "lock", "plan.json"
# The names of the files that parts are made of.
PARTS = ("[0-9]*.jsonl", "[0-9]*.json", "[0-9]*.partial")
# Bytes that are no UTF-8 are lone surrogates in the rows, and stay so.
AS_READ = "surrogatepass"


@dataclass(frozen=True)
class Part:
    """The note of a part: how many rows it has, of what was read, and its file's digest."""

    read: int
    answered: int
    read_sha256: str
    sha256: str


NOTE = TypeAdapter(Part)


class ReadDigest:
    """The digest of what was read for a part."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.rows = 0

    def add(self, rows: Sequence[Sequence[JsonValue]]) -> None:
        self._digest.update(json.dumps(rows).encode())
        self.rows += len(rows)

    def of_part(self, part: Part) -> bool:
        """Whether all that was added is what the part was made of."""
        return (self.rows, self.hexdigest) == (part.read, part.read_sha256)

    @property
    def hexdigest(self) -> str:
        return self._digest.hexdigest()


class AnsweredParts:
    """The parts of one table, in their order."""

    def __init__(self, target: Path, folder: Path) -> None:
        self._target, self._folder = target, folder
        self.whole = list(self._found())
        """The notes of those that are whole, up to the first that is not."""

    def add(self, rows: Iterable[Sequence[Sequence[Cell]]], of: ReadDigest) -> Part:
        """Write the next part from some rows at a time; `of` is what was read for it once they are written.

        A row whose last cell is empty was answered: that cell tells what is wrong.
        """
        path = self._path(len(self.whole))
        partial, answered = path.with_suffix(".partial"), 0
        with partial.open("w", encoding="utf-8", errors=AS_READ) as file:
            for some in rows:
                file.writelines(json.dumps(list(row), ensure_ascii=False) + "\n" for row in some)
                answered += sum(row[-1] is None for row in some)
        # Neither is synced: a part that a failing machine cut has another digest than its note, and is made again.
        part = Part(of.rows, answered, of.hexdigest, file_sha256(partial))
        partial.replace(path)
        write_json(path.with_suffix(".json"), asdict(part))
        self.whole.append(part)
        return part

    def write_table(self, columns: dict[str, Type]) -> None:
        """Put the parts together under the table's name, and remove them."""
        made = self._folder / self._target.name
        with written_table(made, columns) as write:
            for number in range(len(self.whole)):
                write(self._rows(number))
        made.replace(self._target)
        sync_folder(self._target.parent)
        self.forget()

    def forget(self) -> None:
        """Remove what was made of every part."""
        for pattern in PARTS:
            for path in self._folder.glob(pattern):
                path.unlink()
        (self._folder / self._target.name).unlink(missing_ok=True)
        self.whole.clear()

    def _found(self) -> Iterator[Part]:
        number = 0
        while part := self._note(number):
            yield part
            number += 1

    def _note(self, number: int) -> Part | None:
        path = self._path(number)
        try:
            part = NOTE.validate_json(path.with_suffix(".json").read_bytes())
            return part if file_sha256(path) == part.sha256 else None
        except (OSError, ValidationError):
            return None

    def _rows(self, number: int) -> list[list[Cell]]:
        with self._path(number).open(encoding="utf-8", errors=AS_READ) as file:
            return [json.loads(line) for line in file]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08}.jsonl"


@contextmanager
def answered_parts(target: Path, plan: JsonValue, say: Callable[[str], None]) -> Iterator[AnsweredParts]:
    """The parts of the table `target` that were made by the same `plan`, and are left if the block ends early.

    Raises: SettingsError for a place where no table can be, or if another process is making this one.
    """
    require_place_for_table(target)
    folder = target.with_name(f".{target.name}.parts")
    _require_ours(folder)
    folder.mkdir(exist_ok=True, mode=0o700)
    with _locked(folder, target):
        parts = AnsweredParts(target, folder)
        if _read_plan(folder) != plan:
            if parts.whole:
                say("predict: the model or what it computes with is another one than in the last run: beginning anew")
            parts.forget()
            write_json(folder / PLAN, plan)
        try:
            yield parts
        finally:
            if not parts.whole:
                shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path, target: Path) -> Iterator[None]:
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise SettingsError(
            f"{target}: is being made by another `graftline predict`; wait for it, or name another table"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _require_ours(folder: Path) -> None:
    """Raises: SettingsError if what lies there is nothing that `answered_parts` makes: it would be removed."""
    there = folder.is_symlink() or folder.exists()
    if there and (folder.is_symlink() or not folder.is_dir() or _holds_others_files(folder)):
        raise SettingsError(
            f"{folder}: is not a folder that `graftline predict` made, which would keep its answers there meanwhile;"
            " move it away, or name another table"
        )


def _holds_others_files(folder: Path) -> bool:
    # A kill may have left the lock alone, or what was to become the plan, whose name begins with a dot.
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {LOCK}
    return bool(names) and PLAN not in names


def _read_plan(folder: Path) -> JsonValue:
    try:
        plan: JsonValue = json.loads((folder / PLAN).read_bytes())
    except (OSError, ValueError):
        return None
    return plan
