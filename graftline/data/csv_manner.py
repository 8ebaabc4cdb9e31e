"""How the records of a CSV file are written: which columns stand in quotes, and what ends a line."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from graftline.data.tables import is_header, read_csv_records

# So many records show which columns are quoted whatever they hold.
SAMPLE_RECORDS = 200
NEEDS_QUOTES = re.compile('[",\r\n]')
CELL = re.compile(r'("(?:[^"]|"")*"|[^,]*)(,|\Z)')
LINE_ENDS = ("\r\n", "\n", "\r")


@dataclass(frozen=True)
class CsvManner:
    """The columns, and how their cells are written down."""

    columns: tuple[str, ...]
    """Those behind the last one that has a name among them: their names are empty."""
    quoted: tuple[bool, ...]
    """Whether all cells of a column stand in quotes that hold something."""
    line_end: str

    def record(self, cells: Sequence[str], values: Mapping[str, str | None]) -> str:
        """A record of `cells`, in which the columns of `values` hold these, without its line end."""
        width = len(self.columns)
        row = [values.get(name, cell) or "" for name, cell in
               zip(self.columns, [*cells, *[""] * width][:width], strict=True)]  # fmt: skip
        row += cells[width:]
        quoted = [*self.quoted, *[False] * len(cells)]
        written = [_cell(text, quoted[place]) for place, text in enumerate(row)]
        # A line with nothing in it is no record.
        return ",".join(written) or '""'


def csv_manner(path: Path) -> CsvManner:
    """The manner in which a CSV file is written, told from its header and its first records."""
    records = (record for record in read_csv_records(path) if record.fault is None)
    header = next(record for record in records if is_header(record))
    quoted = [True] * len(header.cells)
    seen = [False] * len(header.cells)
    for record in islice(records, SAMPLE_RECORDS):
        for place, cell in enumerate(_written_cells(record.raw)[: len(quoted)]):
            if cell:
                seen[place] = True
                quoted[place] &= cell.startswith('"')
    return CsvManner(
        tuple(header.cells), tuple(one and any_ for one, any_ in zip(quoted, seen, strict=True)), _line_end_of(path)
    )


def line_end(text: str) -> str:
    """What ends a line; nothing at the end of a file may do so."""
    return next((end for end in LINE_ENDS if text.endswith(end)), "")


def _line_end_of(path: Path) -> str:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return line_end(file.readline()) or "\n"


def _written_cells(raw: str) -> list[str]:
    """The cells of a record as they are written, with their quotes."""
    cells, at = [], 0
    while match := CELL.match(raw, at):
        cells.append(match[1])
        at = match.end()
        if not match[2]:
            break
    return cells


def _cell(text: str, quoted: bool) -> str:
    if (quoted and text) or NEEDS_QUOTES.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text
