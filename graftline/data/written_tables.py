"""Tables as they are written, some rows at a time: CSV, JSON Lines and Parquet, whole or not at all."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

from graftline.data.row_names import printable
from graftline.errors import SettingsError
from graftline.files import sync_folder

Type = Literal["text", "number"]
Cell = str | float | None
Write = Callable[[Sequence[Sequence[Cell]]], None]


def require_place_for_table(path: Path) -> None:
    """Raises: SettingsError for a name that says of no form which a table can be written in, or without a folder."""
    if path.suffix.lower() not in _WRITERS:
        raise SettingsError(f"{path} ends in {path.suffix!r}, expected one of {', '.join(_WRITERS)}; name it so")
    if not path.parent.is_dir():
        raise SettingsError(f"{path}: there is no folder {path.parent} to write it into; make it, or name another")


@contextmanager
def written_table(path: Path, columns: Mapping[str, Type]) -> Iterator[Write]:
    """Inside, rows are written beside `path`; at the end the table is renamed into place, after an error it is removed.

    Raises: SettingsError for an unknown suffix, or a folder that is not there.
    """
    require_place_for_table(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with _WRITERS[path.suffix.lower()](partial, columns) as write:
            yield write
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def _csv(path: Path, columns: Mapping[str, Type]) -> Iterator[Write]:
    # Bytes that were no UTF-8 come out as they went in.
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        yield writer.writerows


@contextmanager
def _json_lines(path: Path, columns: Mapping[str, Type]) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:

        def write(rows: Sequence[Sequence[Cell]]) -> None:
            for row in rows:
                named = {name: _printable(cell) for name, cell in zip(columns, row, strict=True)}
                file.write(json.dumps(named, ensure_ascii=False) + "\n")

        yield write


@contextmanager
def _parquet(path: Path, columns: Mapping[str, Type]) -> Iterator[Write]:
    import pyarrow as pa
    from pyarrow import parquet

    types = {"text": pa.string(), "number": pa.float64()}
    schema = pa.schema([(name, types[column]) for name, column in columns.items()])
    with parquet.ParquetWriter(path, schema) as writer:

        def write(rows: Sequence[Sequence[Cell]]) -> None:
            cells = [[_printable(row[place]) for row in rows] for place in range(len(schema))]
            arrays = [pa.array(column, of.type) for column, of in zip(cells, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

        yield write


def _printable(cell: Cell) -> Cell:
    return printable(cell) if isinstance(cell, str) else cell


_WRITERS: dict[str, Callable[[Path, Mapping[str, Type]], AbstractContextManager[Write]]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}
