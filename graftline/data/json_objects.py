"""The objects of a file of JSON: one in each line, all in one array, or one after the other over several lines."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from graftline.errors import DataRefusedError

WHITE = re.compile(r"\s*")
# The first character of what may go on in the lines behind.
OPENING = ("[", "{")


@dataclass(frozen=True, slots=True)
class JsonObject:
    """One object: its line, or its number where a line may hold several; what it holds, or why it is none.

    A value of it that is no JSON is an `Unfit`.
    """

    place: int
    content: dict[str, object]
    fault: str | None
    raw: str


@dataclass(frozen=True, slots=True)
class Unfit:
    """What stands in place of a value that is no JSON: it costs whoever needs it, not the file."""

    reason: str

    def __str__(self) -> str:
        return self.reason


def json_objects(file: TextIO, path: Path) -> Iterator[JsonObject]:
    """The objects of an open file, in its order; blank lines are none.

    Raises: DataRefusedError if it begins as one array, or as objects over several lines, and does not go on so.
    """
    whole = _whole_values(file, path)
    if whole is None:
        yield from _of_lines(file)
    else:
        yield from (_object_of(number, value, "") for number, value in enumerate(_rows_of(whole), start=1))


def is_in_lines(file: TextIO, path: Path) -> bool:
    """Whether each line of an open file is an object. Raises: what `json_objects` raises."""
    return _whole_values(file, path) is None


def _whole_values(file: TextIO, path: Path) -> list[object] | None:
    """The values of a file that is none of lines, else None, and the file at its beginning."""
    first = next((line for line in file if line.strip()), "").strip()
    file.seek(0)
    if first.startswith(OPENING) and not (first.startswith("{") and _is_whole(first)):
        try:
            values = _values_in(file.read())
        except (ValueError, RecursionError) as error:
            file.seek(0)
            # One row may be broken in a file of lines, also the first one.
            if first.startswith("[") or not any(_is_whole(line.strip()) for line in file):
                raise _no_form(path, first, error) from None
        else:
            if not _is_whole(first) or len(values) == 1:
                return values
        file.seek(0)
    return None


def _rows_of(values: list[object]) -> list[object]:
    return values[0] if len(values) == 1 and isinstance(values[0], list) else values


def _no_form(path: Path, first: str, error: Exception) -> DataRefusedError:
    form = "one JSON array" if first.startswith("[") else "JSON objects over several lines"
    return DataRefusedError(
        f"{path}: begins like {form}, but is not readable as that ({error}); mend it there, or write JSON Lines, one"
        " object in each line"
    )


def _of_lines(lines: Iterable[str]) -> Iterator[JsonObject]:
    for line, text in enumerate(lines, start=1):
        raw = text.strip()
        if not raw:
            continue
        try:
            value = _DECODER.decode(raw)
        except (ValueError, RecursionError) as error:
            yield JsonObject(line, {}, f"not readable as JSON ({error})", raw)
        else:
            yield _object_of(line, value, raw)


def _is_whole(line: str) -> bool:
    """Whether a line is an object or a list of JSON."""
    try:
        return isinstance(_DECODER.decode(line), list | dict | Unfit)
    except (ValueError, RecursionError):
        return False


def _values_in(text: str) -> list[object]:
    """The values that stand there one after the other."""
    values, at = [], len(text) - len(text.lstrip())
    while at < len(text):
        value, at = _DECODER.raw_decode(text, at)
        values.append(value)
        behind = WHITE.match(text, at)
        at = behind.end() if behind else at
    return values


def _object_of(place: int, value: object, raw: str) -> JsonObject:
    if isinstance(value, Unfit):
        return JsonObject(place, {}, f"not readable as JSON ({value})", raw)
    if not isinstance(value, dict):
        return JsonObject(place, {}, f"holds {type(value).__name__}, expected one JSON object", raw or ascii(value))
    return JsonObject(place, value, None, raw)


def _without_doubles(pairs: list[tuple[str, object]]) -> object:
    content = dict(pairs)
    return content if len(content) == len(pairs) else Unfit("a key occurs twice")


def _no_constant(name: str) -> object:
    return Unfit(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_without_doubles, parse_constant=_no_constant)
