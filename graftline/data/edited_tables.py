"""A table written anew with some rows changed, removed or added, and every other row as it was.

Of CSV and JSON Lines the other rows keep their bytes, of Parquet their values, types and order.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from graftline.data.csv_manner import csv_manner, line_end
from graftline.data.json_manner import json_manner
from graftline.data.json_objects import is_in_lines
from graftline.data.tables import open_text, read_csv_records
from graftline.errors import DataRefusedError, SettingsError

if TYPE_CHECKING:
    import pyarrow as pa

# What a table's column gets; None and no text at all are a missing value.
Values = Mapping[str, str | None]


@dataclass(frozen=True)
class Edits:
    """What becomes of a table's rows, which are named by their lines as `read_rows` gives them."""

    changed: Mapping[int, Values] = field(default_factory=dict)
    """By line the columns that get another value; of a row that could not be read all of them."""
    removed: frozenset[int] = frozenset()
    added: Sequence[Values] = ()
    """New rows, which come behind all others."""


def write_edited(source: Path, target: Path, edits: Edits) -> None:
    """Write the table `source` with these edits to `target`, in the same form, and sync it.

    Raises: SettingsError for another form of table; DataRefusedError where a row cannot be written as it should.
    """
    write = _WRITERS.get(source.suffix.lower())
    if write is None:
        raise SettingsError(f"{source} ends in {source.suffix!r}, expected one of {', '.join(_WRITERS)}")
    write(source, target, edits)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _write_csv(source: Path, target: Path, edits: Edits) -> None:
    manner = csv_manner(source)
    texts: dict[int, str] = {}
    ends: dict[int, int] = {}
    for record in read_csv_records(source):
        if record.first in edits.changed:
            texts[record.first] = manner.record(record.cells, edits.changed[record.first])
        if record.first in edits.changed or record.first in edits.removed:
            ends[record.first] = record.last
    _require_found(source, edits, ends)
    _write_lines(source, target, texts, ends, [manner.record([], values) for values in edits.added], manner.line_end)


def _write_json_lines(source: Path, target: Path, edits: Edits) -> None:
    with open_text(source) as file:
        if not is_in_lines(file, source):
            raise DataRefusedError(
                f"{source}: holds one array, or objects over several lines, expected JSON Lines to change single rows"
                " of it; write one object in each line"
            )
    manner = json_manner(source)
    texts: dict[int, str] = {}
    with open_text(source) as file:
        for line, text in enumerate(file, start=1):
            if line in edits.changed:
                texts[line] = manner.line(text, edits.changed[line])
    ends = {line: line for line in (*texts, *edits.removed)}
    _require_found(source, edits, ends)
    added = [manner.line("", values) for values in edits.added]
    _write_lines(source, target, texts, ends, added, manner.line_end)


def _require_found(source: Path, edits: Edits, found: Mapping[int, int]) -> None:
    if missing := sorted((edits.changed.keys() | edits.removed) - found.keys()):
        raise DataRefusedError(f"{source}: no row begins in line {missing[0]}")


def _write_lines(
    source: Path, target: Path, texts: Mapping[int, str], ends: Mapping[int, int], added: Sequence[str], end: str
) -> None:
    """Copy the lines; those from a key of `ends` to its value give way to the text of that key, if it has one."""
    with (
        source.open(encoding="utf-8", errors="surrogateescape", newline="") as file,
        target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as new,
    ):
        last = ""
        for number, there in _groups(file, ends):
            text = there
            if number in ends:
                text = texts[number] + line_end(there) if number in texts else ""
            new.write(text)
            last = text or last
        if added and not line_end(last):
            new.write(end)
        new.writelines(text + end for text in added)


def _groups(file: TextIO, ends: Mapping[int, int]) -> Iterator[tuple[int, str]]:
    """Each line by itself, or those that one record takes, with the number of the first."""
    number = 0
    while line := file.readline():
        number += 1
        more = list(islice(iter(file.readline, ""), ends.get(number, number) - number))
        yield number, "".join([line, *more])
        number += len(more)


def _write_parquet(source: Path, target: Path, edits: Edits) -> None:
    """Rows are named by their numbers, from 1."""
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(source)
    pieces, behind = [], 0
    for number in sorted(edits.changed.keys() | edits.removed):
        pieces.append(table.slice(behind, number - 1 - behind))
        if number in edits.changed:
            pieces.append(_changed_row(source, table.slice(number - 1, 1), edits.changed[number]))
        behind = number
    pieces.append(table.slice(behind))
    pieces += [_new_row(source, table, values) for values in edits.added]
    group = parquet.read_metadata(source).row_group(0) if table.num_rows else None
    parquet.write_table(
        pa.concat_tables(pieces).cast(table.schema),
        target,
        row_group_size=group.num_rows if group else None,
        compression=group.column(0).compression if group and group.num_columns else "snappy",
    )


def _changed_row(source: Path, row: "pa.Table", values: Values) -> "pa.Table":
    for name, text in values.items():
        place = row.schema.get_field_index(name)
        row = row.set_column(place, row.schema.field(place), _column(source, row.schema.field(place), text))
    return row


def _new_row(source: Path, table: "pa.Table", values: Values) -> "pa.Table":
    import pyarrow as pa

    columns = [_column(source, field, values.get(field.name)) for field in table.schema]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _column(source: Path, field: "pa.Field", text: str | None) -> "pa.Array":
    """One value of a column's type. Raises: DataRefusedError if the text is none, or the column takes no gap."""
    import pyarrow as pa

    if not text:
        return pa.nulls(1, field.type)
    try:
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            return pa.array([json.loads(text)], field.type)
        return pa.array([text], pa.string()).cast(field.type)
    except (pa.ArrowException, ValueError) as error:
        raise DataRefusedError(
            f"{source}: {text!a} is no {field.type}, which the column {field.name!a} holds ({error})"
        ) from None


_WRITERS: dict[str, Callable[[Path, Path, Edits], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
    ".ndjson": _write_json_lines,
    ".parquet": _write_parquet,
}
