"""Tables as other programs write them: another encoding than UTF-8, another delimiter than the comma."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from graftline.data.tables import FOREIGN_MARKS, MAX_RECORD_CHARACTERS, SEPARATOR_LINE
from graftline.errors import DataRefusedError
from graftline.other_formats import HEAD_BYTES, what_it_is

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
# As a superset of Latin-1 that leaves next to no byte undefined; what Windows writes in the west.
LEGACY = "cp1252"
CODECS = {"UTF-16": "utf-16", "UTF-32": "utf-32"}
# So many records show which delimiter gives all of them equally many cells.
SAMPLE_RECORDS = 200
MAX_SEPARATOR_CHARACTERS = 16
TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")


@dataclass(frozen=True)
class Manner:
    """How a table of text is written down."""

    encoding: str
    delimiter: str

    @property
    def is_ours(self) -> bool:
        """Whether `graftline.data.tables` reads it as it stands."""
        return self.encoding == "utf-8" and self.delimiter == ","

    @property
    def in_words(self) -> str:
        name = {"utf-8": "UTF-8", LEGACY: "Windows-1252"}.get(self.encoding, self.encoding.upper())
        return f"{name}, {DELIMITERS[self.delimiter]} between cells"


def manner_of(path: Path) -> Manner:
    """The encoding and delimiter of a table of text, told from its bytes.

    Raises: DataRefusedError if no delimiter gives it two columns.
    """
    with path.open("rb") as content:
        other = what_it_is(content.read(HEAD_BYTES))
    if other:
        raise DataRefusedError(f"{path}: {other}; expected a table of text")
    encoding = _encoding_of(path)
    with path.open(encoding=_reading(encoding), newline="", errors="replace") as file:
        _skip_separator_line(file)
        sample = file.read(MAX_RECORD_CHARACTERS)
    widths = {delimiter: _width(sample, delimiter) for delimiter in DELIMITERS}
    # The comma unless another one is better: a text may hold any of them.
    best = max(DELIMITERS, key=lambda delimiter: widths[delimiter])
    if widths[best] < 2:
        raise DataRefusedError(
            f"{path}: no comma, semicolon, tab or bar divides its lines into columns, expected a table with a header"
            " and at least two columns"
        )
    return Manner(encoding, best)


def rewrite(paths: Iterable[Path], manner: Manner, target: Path, *, part: str | None = None) -> int:
    """Write tables of one header as one of ours; `part` names a new column with the tables' names.

    Returns: the number of rows.
    """
    rows, header = 0, None
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for path in paths:
            for number, cells in enumerate(_records(path, manner)):
                more = [part if number == 0 else path.stem] if part else []
                if number == 0 and header is None:
                    header = cells
                    writer.writerow([*cells, *more])
                elif number == 0 and cells != header:
                    raise DataRefusedError(f"{path}: its header differs from that of the table before it; mend it")
                elif number:
                    writer.writerow([*cells, *more])
                    rows += 1
    return rows


def _encoding_of(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4096)
    if mark := next((name for mark, name in FOREIGN_MARKS.items() if head.startswith(mark)), None):
        return CODECS[mark]
    if head.count(0) > len(head) // 4:
        return "utf-16-le" if head[1::2].count(0) >= head[::2].count(0) else "utf-16-be"
    try:
        with path.open(encoding="utf-8") as text:
            while text.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return LEGACY
    return "utf-8"


def _reading(encoding: str) -> str:
    return "utf-8-sig" if encoding == "utf-8" else encoding


def _width(sample: str, delimiter: str) -> int:
    """In how many cells this delimiter divides nearly every record; 0 if it does not."""
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
    widths: list[int] = []
    try:
        for cells in reader:
            if cells:
                widths.append(len(cells))
            if len(widths) == SAMPLE_RECORDS:
                break
    except csv.Error:
        return 0
    # The last record of a sample may be cut.
    same = sum(width == widths[0] for width in widths) if widths else 0
    return widths[0] if widths and same >= 0.9 * len(widths) else 0


def _records(path: Path, manner: Manner) -> Iterable[Sequence[str]]:
    csv.field_size_limit(MAX_RECORD_CHARACTERS)
    with path.open(encoding=_reading(manner.encoding), newline="") as file:
        try:
            _skip_separator_line(file)
            yield from (cells for cells in csv.reader(file, delimiter=manner.delimiter) if cells)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataRefusedError(
                f"{path}: not readable as {manner.in_words} ({error}); save it as UTF-8, or mend the file"
            ) from None


def _skip_separator_line(file: TextIO) -> None:
    if not SEPARATOR_LINE.fullmatch(file.readline(MAX_SEPARATOR_CHARACTERS).rstrip("\r\n")):
        file.seek(0)
