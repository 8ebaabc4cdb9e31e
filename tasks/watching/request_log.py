"""The log of what was served, as the server writes it: Parquet files by day of UTC."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from graftline.errors import DataRefusedError
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER, SUFFIX = "served", ".parquet"
COLUMNS = ("id", "time", "version", "run_id", "facts", "features", "answer", "confidence")


def served_folder(workspace: Workspace, model: str) -> Path:
    """Where the rows of a model lie, a folder per day of UTC."""
    return workspace.artifacts / FOLDER / model


def served_days(workspace: Workspace, model: str) -> list[date]:
    """The days of which there is a log."""
    return [day for day, _ in _days(served_folder(workspace, model))]


def read_served(workspace: Workspace, model: str, since: datetime, until: datetime) -> "pa.Table":
    """The rows from `since` on and before `until`, both with a time zone, in the order of their time.

    Raises: DataRefusedError naming a file that holds something else.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    first, last = since.astimezone(UTC).date(), until.astimezone(UTC).date()
    folders = [folder for day, folder in _days(served_folder(workspace, model)) if first <= day <= last]
    tables = [_read(file) for folder in folders for file in sorted(folder.glob(f"*{SUFFIX}")) if file.name[0] != "."]
    if not tables:
        return pa.table({name: [] for name in COLUMNS})
    table = pa.concat_tables(tables)
    begin, end = (pa.scalar(moment.astimezone(UTC), table["time"].type) for moment in (since, until))
    there = pc.and_(pc.greater_equal(table["time"], begin), pc.less(table["time"], end))
    return table.filter(there).sort_by([("time", "ascending"), ("id", "ascending")])


def _days(folder: Path) -> Iterator[tuple[date, Path]]:
    for place in sorted(folder.iterdir()) if folder.is_dir() else []:
        with suppress(ValueError):  # a folder of somebody else's
            yield date.fromisoformat(place.name), place


def _read(file: Path) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(file).read(columns=list(COLUMNS)).select(COLUMNS)
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise DataRefusedError(
            f"{file}: holds no served rows ({error}), expected the columns {', '.join(COLUMNS)}; put it elsewhere, or"
            " restore it from a backup"
        ) from None
