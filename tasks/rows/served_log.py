"""The log of served rows, as far as feedback needs it: what was asked under an id, and what was answered."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from graftline.tasks.serving.request_log import served_folder
from graftline.tasks.serving.shared_log import SUFFIX, bring
from graftline.tasks.workspace import Workspace

COLUMNS = ("id", "time", "version", "digest", "input", "answer")


@dataclass(frozen=True)
class ServedRow:
    """One answered input."""

    id: str
    time: datetime
    version: int
    digest: str
    """The SHA-256 of the input's bytes; of a text's in UTF-8."""
    input: str | None
    """The text, or the bytes in base64; None where the policy keeps no inputs."""
    answer: str


@dataclass(frozen=True)
class ServedRows:
    """Those with the ids that were asked for, and the files that could not be read."""

    by_id: dict[str, list[ServedRow]]
    """In the order of time."""
    unreadable: tuple[Path, ...]


def served_rows(workspace: Workspace, model: str, ids: Collection[str]) -> ServedRows:
    """What was served under these ids. A file that is not whole costs its own rows and is named."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    wanted, found, unreadable = pa.array(sorted(ids), pa.string()), dict[str, list[ServedRow]](), []
    folder = served_folder(workspace, model)
    bring(folder, date.min, date.max)
    for path in sorted(folder.glob(f"*/[!.]*{SUFFIX}")):
        try:
            table = parquet.read_table(path, columns=list(COLUMNS))
            table = table.filter(compute.is_in(table.column("id"), value_set=wanted))
            rows = [ServedRow(**row) for row in table.to_pylist()]
        except (pa.ArrowException, OSError, UnicodeDecodeError):
            unreadable.append(path)
            continue
        for row in rows:
            found.setdefault(row.id, []).append(row)
    for same in found.values():
        same.sort(key=lambda row: row.time)
    return ServedRows(found, tuple(unreadable))
