"""Requests to a registered model: the inputs that one holds, in whatever form it came, and how large it may be."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from graftline.data.images import UnreadableImageError, image_pixels
from graftline.data.sound_containers import UnreadableSoundError
from graftline.data.sounds import sound_samples
from graftline.models.media import Medium, media_of
from graftline.models.preprocessing import Raw
from graftline.settings import Kind
from graftline.wording import shortened, shown

SHOWN_CHARACTERS = 200
MEBIBYTE = 2**20
CALLED: dict[Kind, str] = {"text": "a text", "image": "an image", "audio": "a sound"}
# Where a list holds texts and something else, numpy, which MLflow's server makes an array of it with, writes the other
# in letters: so wide is an array with true or false, with large whole numbers, with whole numbers, with any number.
WRITTEN_WIDTHS = (5, 20, 21, 32)
WRITTEN = re.compile(r"True|False|nan|-?inf|-?\d+(\.\d*)?(e[+-]\d+)?")
MISSING, MISSING_WIDTH = "nan", 32


@dataclass(frozen=True)
class Limits:
    """How large one request to a server may be: while it is computed, others wait."""

    rows: int
    bytes: int
    """Of all texts, or of all files behind their base64."""
    unpacked: int = 0
    """Of all pictures the pixels, of all sounds the samples: small files can hold very many."""
    unit: str = ""


# A text of a million characters (models/text_models.py) passes, whatever they are; so do two of the largest pictures
# that are decoded at all, and eighteen minutes of stereo at 48 kHz.
LIMITS: dict[Kind, Limits] = {
    "text": Limits(rows=1_000, bytes=4 * MEBIBYTE),
    "image": Limits(rows=100, bytes=64 * MEBIBYTE, unpacked=100_000_000, unit="pixels"),
    "audio": Limits(rows=100, bytes=64 * MEBIBYTE, unpacked=100_000_000, unit="samples"),
}


def inputs_of(asked: object, names: Sequence[str], kind: Kind, *, limits: Limits | None = None) -> list[Raw]:
    """The inputs in a request, ready for a predictor.

    `asked` is one input, or a list, array or Series of them, or a table: a DataFrame, a mapping of columns, a list of
    rows as mappings, or rows of one cell. Of a table counts the first column that has one of the `names`; without it
    the only column. Under `limits`, which are for requests that came over a network, it is refused before anything is
    computed.
    Raises: ValueError for anything else, for none, and for more than the limits.
    """
    values = _values(asked, names, from_network=limits is not None)
    if not len(values):
        raise ValueError(f"got no rows, expected one or more, each with {CALLED[kind]}")
    if limits and len(values) > limits.rows:
        raise ValueError(f"got {len(values):,} rows, expected at most {limits.rows:,} in one request; send several")
    raws = values if kind == "text" else media_of(values, CALLED[kind])
    if limits:
        _require_small(raws, kind, limits)
    return raws


def _values(asked: object, names: Sequence[str], *, from_network: bool) -> list[Any]:
    match asked:
        case pd.DataFrame():
            _require_columns_for_all_cells(asked, from_network=from_network)
            place = _place_of(list(asked.columns), names)
            return list(asked.iloc[:, place].tolist())
        case pd.Series() | pd.Index():
            return list(asked.tolist())
        case np.ndarray():
            return _of_array(asked)
        case Mapping():
            _require_equal_lengths(asked)
            return _listed(list(asked.values())[_place_of(list(asked), names)])
        case str() | bytes() | bytearray() | memoryview() | Path():
            return [asked]
        case list() | tuple():
            return _of_list(asked, names)
    raise ValueError(
        f"got {shown(asked)}, expected one input, or a list, an array, a Series, a DataFrame or a mapping of columns"
    )


def _place_of(columns: Sequence[object], names: Sequence[str]) -> int:
    """Where among the columns the inputs stand."""
    for name in names:
        if columns.count(name) == 1:
            return columns.index(name)
        if columns.count(name) > 1:
            raise ValueError(f"got {columns.count(name)} columns called {name}, expected one; rename the others")
    if len(columns) != 1:
        told = shortened(", ".join(map(ascii, columns[:9])), SHOWN_CHARACTERS)
        raise ValueError(
            f"got {len(columns):,} columns ({told}), expected one called {' or '.join(dict.fromkeys(names))}, or no"
            " other; rename the one that is meant, or send it alone"
        )
    _require_divided(columns[0], names)
    return 0


def _require_divided(column: object, names: Sequence[str]) -> None:
    """A CSV that is divided by other marks than commas is one column, whose name holds all of them."""
    if isinstance(column, str) and not set(names).isdisjoint(re.split(r"[;|\t]", column)):
        raise ValueError(f"got one column called {shown(column)}, expected one called {names[0]}; divide by commas")


def _require_columns_for_all_cells(table: pd.DataFrame, *, from_network: bool) -> None:
    """Of CSV whose rows have one cell more than its header, pandas makes the first cell the row's name."""
    if from_network and len(table) and not pd.api.types.is_numeric_dtype(table.index.dtype):
        raise ValueError(
            f"got a table whose rows have names ({shown(table.index[0])}), expected none: in CSV put texts that hold a"
            ' comma into quotes, in JSON leave out "index"'
        )


def _of_list(asked: Sequence[object], names: Sequence[str]) -> list[Any]:
    if asked and all(isinstance(row, Mapping) for row in asked):
        rows: Sequence[Mapping[object, Any]] = asked  # type: ignore[assignment]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        column = columns[_place_of(columns, names)]
        return [_scalar(row.get(column)) for row in rows]
    if any(isinstance(row, list | tuple) for row in asked):
        return [_only_cell(place, row) for place, row in enumerate(asked)]
    return list(asked)


def _only_cell(place: int, row: object) -> Any:
    if not isinstance(row, list | tuple) or len(row) != 1:
        raise ValueError(
            f"row {place} is {shown(row)}, expected one cell in each row, or a list of inputs; a table with several"
            " columns needs their names"
        )
    return row[0]


def _of_array(array: "np.ndarray[Any, Any]") -> list[Any]:
    if array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):
        raise ValueError(
            f"got an array of {' x '.join(map(str, array.shape))}, expected one row of inputs, or one column; a table"
            " with several columns needs their names"
        )
    values = array.reshape(-1).tolist()
    if array.dtype.kind == "U":
        _require_no_numbers(values, array.dtype.itemsize // np.dtype("U1").itemsize)
    return list(values)


def _require_no_numbers(texts: Sequence[str], width: int) -> None:
    """Texts among which numpy wrote numbers or missing values in letters; longer ones hide all but the missing."""
    is_mixed = width in WRITTEN_WIDTHS and width > max(map(len, texts), default=width)
    for place, text in enumerate(texts):
        if (is_mixed and WRITTEN.fullmatch(text)) or (width >= MISSING_WIDTH and text == MISSING):
            what = "a missing value" if text == MISSING else f"{text}, which is no text"
            raise ValueError(f"input {place} is {what}; leave it out or give a text")


def _require_equal_lengths(columns: Mapping[object, object]) -> None:
    lengths = {_length(column) for column in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"got columns of {' and '.join(map(str, sorted(lengths)[:9]))} rows, expected equally many")


def _length(column: object) -> int:
    if isinstance(column, np.ndarray):
        return int(column.size if column.ndim == 0 else column.shape[0])
    return len(column) if isinstance(column, list | tuple | pd.Series | pd.Index) else 1


def _listed(column: object) -> list[Any]:
    """The cells of a column of a mapping: some, or one alone."""
    match column:
        case np.ndarray():
            return _of_array(column)
        case pd.Series() | pd.Index():
            return list(column.tolist())
        case list() | tuple():
            return list(column)
    return [column]


def _scalar(cell: object) -> object:
    """A cell that MLflow's server wrapped."""
    return cell.item() if isinstance(cell, np.ndarray) and cell.ndim == 0 else cell


def _require_small(raws: Sequence[Raw], kind: Kind, limits: Limits) -> None:
    _require_sum((_bytes(raw) for raw in raws), limits.bytes, "bytes")
    if kind != "text":
        measure = image_pixels if kind == "image" else sound_samples
        _require_sum((_unpacked(raw, measure) for raw in raws), limits.unpacked, limits.unit)


def _require_sum(parts: Iterable[int], most: int, unit: str) -> None:
    if (found := sum(parts)) > most:
        raise ValueError(f"got {found:,} {unit} in all, expected at most {most:,} in one request; send several")


def _bytes(raw: object) -> int:
    match raw:
        case Medium(source=bytes(content)):
            return len(content)
        case str():
            return len(raw.encode(errors="surrogatepass"))
    return 0  # refused later, by its place


def _unpacked(raw: Medium, measure: Callable[[bytes], int]) -> int:
    try:
        return measure(raw.read())
    except (UnreadableImageError, UnreadableSoundError):
        return 0  # refused later, by its place and with the reason
