"""Columns of Parquet as texts: what of any type stands there, and the type in one word."""

import datetime
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

DATE, TIME, TIMESTAMP, DECIMAL, LIST_OF_LABELS = "date", "time", "timestamp", "decimal", "list of text"


def type_name(kind: "pa.DataType") -> str:
    """The type as our checks know it: how it is stored plays no part, nor how exact it is."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return type_name(kind.value_type)
    if _is_list(kind):
        inside = type_name(kind.value_type)
        is_label = inside in ("string", "large_string", "string_view", "bool", "null") or "int" in inside
        return LIST_OF_LABELS if is_label else f"list of {inside}"
    tests = {
        DATE: pa.types.is_date,
        TIME: pa.types.is_time,
        TIMESTAMP: pa.types.is_timestamp,
        DECIMAL: pa.types.is_decimal,
    }
    return next((name for name, is_it in tests.items() if is_it(kind)), str(kind))


def values_of(column: "pa.Array") -> Sequence[object]:
    """Each value: texts as bytes, because Arrow stops at one that is not UTF-8; lists and objects as such."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return values_of(column.dictionary_decode())
    if isinstance(kind, pa.BaseExtensionType):
        return values_of(column.storage)
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _as_python(column)
    try:
        texts = _timestamps(column) if pa.types.is_timestamp(kind) else column.cast(pa.string())
    except pa.ArrowException:  # a type that Arrow has no text of
        return [None if value is None else str(value).encode() for value in _as_python(column)]
    values: list[object] = texts.cast(pa.binary()).to_pylist()
    return values


def text_of(value: object) -> str | None:
    """A single value as it stands in a table; None of what is none, or is several."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return None if isinstance(value, list | dict | tuple) else _as_json(value)


def as_json(value: object) -> str:
    """Anything in one line."""
    return json.dumps(value, ensure_ascii=False, default=_as_json)


def _as_json(value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


def _is_list(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view,
             pa.types.is_large_list_view)  # fmt: skip
    return any(test(kind) for test in tests)


def _as_python(column: "pa.Array") -> list[object]:
    return list(column.to_pylist())


def _timestamps(column: "pa.Array") -> "pa.Array":
    """2024-01-31 12:00:00, with a Z in UTC if the column has a zone; no zeros at the end, whatever the unit."""
    import pyarrow as pa
    from pyarrow import compute

    mark = "Z" if column.type.tz else ""
    texts = column.cast(pa.timestamp(column.type.unit)).cast(pa.string())
    texts = compute.replace_substring_regex(texts, r"(\.\d*[1-9])0+$", r"\1")
    texts = compute.replace_substring_regex(texts, r"\.0+$", "")
    return compute.binary_join_element_wise(texts, mark, "")
