"""What a Parquet file is: its columns, and whether it is one table, or several one behind the other."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from graftline.data.arrow_values import type_name
from graftline.errors import DataRefusedError

PARQUET_MARK = b"PAR1"
# Of a file that is looked through, at once.
SCANNED_BYTES = 1 << 20


def parquet_header(path: Path) -> list[tuple[str, str]]:
    """The columns' names and types. Raises: DataRefusedError if it is no Parquet."""
    from pyarrow import parquet

    try:
        # Names and types are only now looked at whether they are any.
        return [(field.name, type_name(field.type)) for field in parquet.read_schema(path)]
    except Exception as error:  # noqa: BLE001 - of damaged bytes Arrow raises also what is none of its own errors
        raise DataRefusedError(f"{path}: not readable as Parquet ({error}); restore it with `dvc pull`") from None


def require_one_table(path: Path) -> None:
    """Of two tables in one file Arrow reads as many rows as the second one has, from the first.

    Raises: ValueError if there are several.
    """
    with path.open("rb") as file:
        for place in _places_of(2 * PARQUET_MARK, file):
            if _ends_a_table(file, place):
                raise ValueError("it holds several tables, of which only one would be read")


def _places_of(mark: bytes, file: BinaryIO) -> Iterator[int]:
    """Where a mark stands in a file, which is read a block at a time; whoever asks may move in the file meanwhile."""
    begin, end = 0, b""
    while block := _read_at(file, begin + len(end), SCANNED_BYTES):
        content = end + block
        place = content.find(mark)
        while place >= 0:
            yield begin + place
            place = content.find(mark, place + 1)
        end = content[1 - len(mark) :]
        begin += len(content) - len(end)


def _read_at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _ends_a_table(file: BinaryIO, place: int) -> bool:
    """Whether a description of rows stands in front of a mark, with its length; letters in a text have none."""
    import pyarrow as pa
    from pyarrow import parquet

    size = int.from_bytes(_read_at(file, max(0, place - 4), min(4, place)), "little")
    begin = max(0, place - 4 - size)
    described = _read_at(file, begin, place + len(PARQUET_MARK) - begin)
    try:
        parquet.read_metadata(pa.BufferReader(PARQUET_MARK + described))
    except Exception:  # noqa: BLE001 - of other bytes Arrow raises anything
        return False
    return True
