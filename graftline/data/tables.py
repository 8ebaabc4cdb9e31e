"""Tables as streams of rows: CSV, JSON Lines and Parquet, every value as text, every row with its line."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from graftline.data.arrow_values import DATE, DECIMAL, TIME, TIMESTAMP, as_json, text_of, values_of
from graftline.data.json_objects import JsonObject, Unfit, json_objects
from graftline.data.parquet_files import parquet_header, require_one_table
from graftline.data.splitting import Split
from graftline.errors import DataRefusedError, SettingsError
from graftline.other_formats import HEAD_BYTES, what_it_is

# A record that spans more than this is an unclosed quote, not a text: reading on would swallow the whole file.
MAX_RECORD_CHARACTERS = 4_000_000
PARQUET_BATCH_ROWS = 4096
# At once of each column that Arrow reads: otherwise it holds whole groups of rows, of which a file may have a single
# one, and keeps them all until the end.
PARQUET_BUFFER_BYTES = 1 << 20
# So many rows show how many cells a row of the table usually has.
SAMPLE_RECORDS = 200
TEXT_TYPES = ("text", "string", "large_string", "string_view")
WHOLE_TYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
LABEL_TYPES = (*TEXT_TYPES, "bool", *WHOLE_TYPES, DECIMAL)
LABEL_TYPES_IN_WORDS = "text, whole numbers, decimals or true and false"
NAME_TYPES = (*LABEL_TYPES, DATE, TIME, TIMESTAMP)
NAME_TYPES_IN_WORDS = "text, whole numbers, decimals, dates, times or true and false"
FLOAT_TYPES = ("halffloat", "float", "double")
# Python's own float() also takes "1_000", " 1 ", "infinity" and the digits of every script.
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# What a spreadsheet writes in front of the header, to say what divides the cells.
SEPARATOR_LINE = re.compile(r'"?sep=.?"?,?', re.IGNORECASE)
# What to do with tables of other names.
WAYS = {
    ".json": "name it .jsonl, which may also hold one array",
    **dict.fromkeys((".tsv", ".tab", ".txt"), "`graftline init --data` writes it anew"),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip"), "unpack it"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "export it as CSV in UTF-8"),
}
# Other encodings announce themselves in their first bytes.
FOREIGN_MARKS = {b"\xff\xfe\x00\x00": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its line, the named columns' values, and why it could not be read, if so.

    In Parquet, and where JSON is no JSON Lines, its number stands for the line.
    """

    line: int
    values: tuple[str | None, ...]
    fault: str | None = None
    raw: str = ""
    side: Split | None = None
    """The side of the split that its folder says."""


# What becomes of a value in a column that is several: a list, a struct. A ValueError makes it a fault of its row.
Nested = Callable[[str, object], str | None]


def refuse_nested(_column: str, _value: object) -> str | None:
    raise ValueError("holds a list or an object, expected text")


def nested_as_json(_column: str, value: object) -> str | None:
    return as_json(value)


def read_header(path: Path) -> dict[str, str]:
    """The table's columns and their types, in the table's order. Columns without a name at its end are none.

    Raises: DataRefusedError if there is no such table, or no header in it, or one column twice.
    """
    names_and_types = list(_reader(path).header(path))
    names = [name for name, _ in names_and_types if name.strip()]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise DataRefusedError(
            f"{path}: the header holds {_shown(doubled)} twice, expected each column once; rename one of them"
        )
    return dict(names_and_types)


def read_rows(path: Path, columns: Sequence[str], *, nested: Nested = refuse_nested) -> Iterator[Row]:
    """The rows in the table's order, holding `columns`, which must be in its header.

    Blank lines are no rows, nor are lines of nothing but empty cells, as spreadsheets write them.
    Bytes that are not UTF-8 become lone surrogates, so that a row is never lost.
    """
    return _reader(path).rows(path, columns, nested)


@dataclass(frozen=True, slots=True)
class CsvRecord:
    """One record of a CSV file: its first and its last line, its cells, and why it has none, if so."""

    first: int
    last: int
    cells: list[str]
    fault: str | None
    raw: str


def read_csv_records(path: Path) -> Iterator[CsvRecord]:
    """The records of a CSV file, the header among them, each with the lines that it takes; blank lines are none."""
    with open_text(path) as file:
        lines = _Lines(file)
        for line, cells, fault, raw in _csv_records(lines):
            yield CsvRecord(line, lines.number, cells, fault, raw)


def is_header(record: CsvRecord) -> bool:
    """Whether a record, the first of which this holds, names the columns."""
    return bool(_without_empty_end(record.cells))


@dataclass(frozen=True)
class _Reader:
    header: Callable[[Path], Iterable[tuple[str, str]]]
    rows: Callable[[Path, Sequence[str], Nested], Iterator[Row]]


def _reader(path: Path) -> _Reader:
    readers = {
        ".csv": _Reader(_csv_header, _csv_rows),
        ".jsonl": _Reader(_json_header, _json_rows),
        ".ndjson": _Reader(_json_header, _json_rows),
        ".parquet": _Reader(parquet_header, _parquet_rows),
    }
    if path.suffix.lower() not in readers:
        raise SettingsError(
            f"{path} ends in {path.suffix!r}, expected one of {', '.join(readers)};"
            f" {WAYS.get(path.suffix.lower(), 'convert the table to one of these')}"
        )
    if not path.is_file():
        raise DataRefusedError(f"{path}: there is no such table; correct its path in the settings or run `dvc pull`")
    if path.stat().st_size == 0:
        raise DataRefusedError(f"{path}: the file is empty, expected a table with a header; restore it with `dvc pull`")
    with path.open("rb") as file:
        other = what_it_is(file.read(HEAD_BYTES), expected=("Parquet",) if path.suffix.lower() == ".parquet" else ())
    if other:
        raise DataRefusedError(f"{path}: {other}; expected what its name says, a table in {path.suffix.lower()[1:]}")
    return readers[path.suffix.lower()]


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """A table of text, its line ends as they are; bytes that are not UTF-8 become lone surrogates.

    Raises: DataRefusedError for another encoding.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    encoding = next((name for mark, name in FOREIGN_MARKS.items() if head.startswith(mark)), None)
    # Text in UTF-16 without a mark is half NUL bytes; UTF-8 text has next to none.
    if encoding or head.count(0) > len(head) // 4:
        raise DataRefusedError(
            f"{path}: the file is written in {encoding or 'UTF-16 or is not text'}, expected UTF-8;"
            " convert it, for example with `iconv -f UTF-16 -t UTF-8`"
        )
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        yield text


class _Lines:
    """The physical lines of a file; those of the current record can be handed back."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._ahead: list[str] = []
        self._record: list[str] = []
        self._characters = 0
        self.number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self._characters > MAX_RECORD_CHARACTERS:
            raise csv.Error(f"longer than {MAX_RECORD_CHARACTERS:,} characters: a quote is not closed")
        line = self._ahead.pop() if self._ahead else self._file.readline()
        if not line:
            raise StopIteration
        self._record.append(line)
        self._characters += len(line)
        self.number += 1
        return line

    def start_record(self) -> int:
        self._record, self._characters = [], 0
        return self.number + 1

    def hand_back_all_but_first(self) -> str:
        first, *rest = self._record
        self._ahead += reversed(rest)
        self.number -= len(rest)
        return first.rstrip("\r\n")

    @property
    def record(self) -> str:
        return "".join(self._record).rstrip("\r\n")


def _csv_records(lines: _Lines) -> Iterator[tuple[int, list[str], str | None, str]]:
    """Line, cells, fault and raw text of each record. A broken record costs its first line, not those behind it."""
    csv.field_size_limit(MAX_RECORD_CHARACTERS)
    reader = csv.reader(lines, strict=True)
    while True:
        line = lines.start_record()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            first = lines.hand_back_all_but_first()
            way = ", in CSV a quote inside quotes is written twice" if '\\"' in first else ""
            yield line, [], f"not readable as CSV ({error}{way})", first
            reader = csv.reader(lines, strict=True)
            continue
        if cells and not (line == 1 and SEPARATOR_LINE.fullmatch(lines.record)):
            yield line, cells, None, lines.record


def _csv_header(path: Path) -> list[tuple[str, str]]:
    with open_text(path) as file:
        for line, cells, fault, _ in _csv_records(_Lines(file)):
            if fault:
                raise DataRefusedError(f"{path}: line {line}, the header, is {fault}; mend it")
            if named := _without_empty_end(cells):
                return [(name, "text") for name in named]
    raise DataRefusedError(f"{path}: holds only blank lines, expected a header; restore it with `dvc pull`")


def _csv_rows(path: Path, columns: Sequence[str], _nested: Nested) -> Iterator[Row]:
    named, most = _widths(path)
    with open_text(path) as file:
        records = _csv_records(_Lines(file))
        header = next(cells for _, cells, _, _ in records if _without_empty_end(cells))
        places = [header.index(name) for name in columns]
        for line, cells, fault, raw in records:
            if fault is None and not (len(cells) == named and cells[-1].strip()):  # as nearly all rows are
                filled = len(_without_empty_end(cells))
                if len(cells) > 1 and not filled:
                    continue
                if not named <= len(cells) <= most or filled > named:
                    fault = f"{len(cells)} cells, expected {named} as in the header"
            if fault:
                yield Row(line, (None,) * len(columns), fault, raw)
            else:
                yield Row(line, tuple(cells[place] for place in places))


def _widths(path: Path) -> tuple[int, int]:
    """How many cells have a name, and how many a row may have if those behind are empty.

    More than the header has if most rows have as many: in one row alone a comma that is not quoted looks the same.
    """
    with open_text(path) as file:
        records = (cells for _, cells, fault, _ in _csv_records(_Lines(file)) if fault is None)
        header = next(cells for cells in records if _without_empty_end(cells))
        widths = [len(cells) for cells in islice(filter(_without_empty_end, records), SAMPLE_RECORDS)]
    usual = max(widths, key=widths.count, default=0)
    is_usual = widths.count(usual) > len(widths) / 2
    return len(_without_empty_end(header)), max(len(header), usual if is_usual else 0)


def _without_empty_end(cells: list[str]) -> list[str]:
    """The cells up to the last one that holds something: a spreadsheet writes as many more as it once had columns."""
    end = len(cells)
    while end and not cells[end - 1].strip():
        end -= 1
    return cells[:end]


def _json_header(path: Path) -> list[tuple[str, str]]:
    # Of all objects: a key that only the last one has is a column, too.
    names: dict[str, None] = {}
    first: str | None = None
    for one in _json_objects(path):
        if one.fault is None:
            names |= dict.fromkeys(one.content)
        elif first is None:
            first = f"{one.place} {one.fault}"
    if not names:
        raise DataRefusedError(
            f"{path}: holds no JSON object with a key{f' (line {first})' if first else ''}; expected JSON Lines, one"
            " object in each line with the columns as its keys, or one array of such objects"
        )
    return [(name, "text") for name in names]


def _json_rows(path: Path, columns: Sequence[str], nested: Nested) -> Iterator[Row]:
    for one in _json_objects(path):
        if one.fault:
            yield Row(one.place, (None,) * len(columns), one.fault, one.raw)
        else:
            yield _row(one.place, columns, [one.content.get(name) for name in columns], nested)


def _json_objects(path: Path) -> Iterator[JsonObject]:
    with open_text(path) as file:
        yield from json_objects(file, path)


def _row(place: int, columns: Sequence[str], values: Sequence[object], nested: Nested) -> Row:
    """A row of values of any type."""
    texts: list[str | None] = []
    for name, value in zip(columns, values, strict=True):
        try:
            texts.append(_as_text(name, value, nested))
        except ValueError as error:
            raw = as_json(dict(zip(columns, values, strict=True)))
            return Row(place, (None,) * len(columns), f"{name!a} {error}", raw)
    return Row(place, tuple(texts))


def _as_text(name: str, value: object, nested: Nested) -> str | None:
    if isinstance(value, list | dict | tuple | Unfit):
        return nested(name, value)
    return text_of(value)


def _parquet_rows(path: Path, columns: Sequence[str], nested: Nested) -> Iterator[Row]:
    from pyarrow import parquet

    number = 0
    try:
        require_one_table(path)
        with parquet.ParquetFile(path, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False) as file:
            for batch in file.iter_batches(PARQUET_BATCH_ROWS, columns=list(dict.fromkeys(columns))):
                for values in zip(*(values_of(batch.column(name)) for name in columns), strict=True):
                    number += 1
                    yield _row(number, columns, values, nested)
    except Exception as error:  # noqa: BLE001 - of damaged bytes Arrow raises also what is none of its own errors
        raise DataRefusedError(
            f"{path}: not readable as Parquet after row {number} ({error}); restore it with `dvc pull`"
        ) from None


def _shown(names: Iterable[str]) -> str:
    return ", ".join(ascii(name) for name in names)
