"""Expectations that a team adds to ours, about the table's own columns as they were read: from YAML or a GX suite."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import yaml
from pydantic import JsonValue

from graftline.data.expectation import Expectation, Level
from graftline.data.expectation_kinds import BOUNDS, KINDS, WITH_BOUNDS, Kind, in_short, unfit
from graftline.data.team_columns import AS_NUMBER, AS_TEXT, fit_name
from graftline.errors import SettingsError
from graftline.wording import ERROR_CHARACTERS, did_you_mean, shortened, shown

# Of our own making in a suite that was written by us: what is expected of every table, whoever adds to it.
OURS = "graftline"
MOST_EXPECTATIONS = 500

Values = Mapping[str, JsonValue]


@dataclass(frozen=True)
class _Entry:
    """One expectation as a file has it."""

    where: str
    kind: str
    arguments: Values
    level: JsonValue
    why: JsonValue
    name: JsonValue


def from_yaml(text: str, file: str) -> tuple[Expectation, ...]:
    """The expectations of the short form. Raises: SettingsError naming the entry and what was expected there."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{file}: not readable as YAML ({in_short(error)}); mend it") from None
    if content is None:
        return ()
    entries = [
        _short_entry(f"{file}, entry {number}", entry)
        for number, entry in enumerate(_listed(content, file, "a list of expectations"), start=1)
    ]
    return _expectations(entries)


def from_suite(text: str, file: str) -> tuple[Expectation, ...]:
    """Those of a Great Expectations suite, as `to_json_dict` writes it; our own in it are left out.

    Raises: SettingsError naming the entry and what was expected there.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{file}: not readable as JSON ({in_short(error)}); mend it") from None
    if not isinstance(content, dict):
        raise SettingsError(
            f"{file}: holds no suite, expected an object with `expectations`; write to_json_dict() there"
        )
    listed = _listed(content.get("expectations"), file, "an object with the list `expectations`")
    entries = [_suite_entry(f"{file}, expectation {number}", entry) for number, entry in enumerate(listed, start=1)]
    return _expectations([entry for entry in entries if entry is not None])


def _listed(content: JsonValue, file: str, expected: str) -> list[JsonValue]:
    if not isinstance(content, list):
        raise SettingsError(
            f"{file}: holds {type(content).__name__}, expected {expected}; see docs/how-to/expectations.md"
        )
    if len(content) > MOST_EXPECTATIONS:
        raise SettingsError(f"{file}: holds {len(content):,} expectations, expected at most {MOST_EXPECTATIONS}")
    return content


def _short_entry(where: str, entry: JsonValue) -> _Entry:
    if not isinstance(entry, dict) or not all(isinstance(name, str) for name in entry):
        raise SettingsError(f"{where}: is no expectation, expected names and values, beginning with `expect:`")
    rest = dict(entry)
    kind, level, why, name = (rest.pop(part, None) for part in ("expect", "level", "why", "name"))
    if not isinstance(kind, str):
        raise SettingsError(f"{where}: does not say what to expect; add `expect:`, such as column_values_to_be_between")
    return _Entry(where, kind, rest, level, why, name)


def _suite_entry(where: str, entry: JsonValue) -> _Entry | None:
    parts = entry if isinstance(entry, dict) else {}
    kind, arguments, meta = parts.get("type"), parts.get("kwargs"), parts.get("meta") or {}
    if not isinstance(kind, str) or not isinstance(arguments, dict) or not isinstance(meta, dict):
        raise SettingsError(f"{where}: is no expectation, expected `type`, `kwargs` and perhaps `meta`")
    if meta.get("from") == OURS:
        return None
    if parts.get("severity", "critical") != "critical":
        raise SettingsError(
            f"{where}: severity is {_value(parts['severity'])}, expected critical; a fault costs the row or the data,"
            " say which with `level` in `meta`"
        )
    return _Entry(where, kind, arguments, meta.get("level"), meta.get("why") or parts.get("notes"), meta.get("name"))


def _expectations(entries: Sequence[_Entry]) -> tuple[Expectation, ...]:
    made: list[Expectation] = []
    for entry in entries:
        one = _expectation(entry)
        if one.name in {other.name for other in made}:
            if entry.name is not None:
                raise SettingsError(f"{entry.where}: the name {one.name!r} is there already; choose another one")
            one = replace(one, name=f"{one.name}_{len(made) + 1}")
        made.append(one)
    return tuple(made)


def _expectation(entry: _Entry) -> Expectation:
    key = entry.kind.removeprefix("expect_")
    if key not in KINDS:
        some = "" if (near := did_you_mean(key, KINDS)) else f"; there are {', '.join(KINDS)}"
        raise SettingsError(f"{entry.where}: there is no expectation {shown(entry.kind)} here{near}{some}")
    kind = KINDS[key]
    level = _level(entry, kind)
    bounds = _checked(entry, kind, level)
    prefix = AS_NUMBER if _as_numbers(kind, bounds) else AS_TEXT
    named = [name for part in kind.columns for name in _names(entry, part)]
    if entry.why is not None and not isinstance(entry.why, str):
        raise SettingsError(f"{entry.where}: why is {_value(entry.why)}, expected a text")
    if entry.name is not None and (not isinstance(entry.name, str) or fit_name(entry.name) != entry.name):
        raise SettingsError(f"{entry.where}: name is {_value(entry.name)}, expected letters, digits, _, - and .")
    placed: dict[str, JsonValue] = {
        part: [f"{prefix}{name}" for name in _names(entry, part)]
        if part == "column_list"
        else f"{prefix}{_names(entry, part)[0]}"
        for part in kind.columns
        if part != "column"
    }
    words = kind.words.format(
        columns=" and ".join(shown(name) for name in named), bounds=_bounds_in_words(bounds),
        **{part: _in_words(bounds.get(part)) for part in ("value_set", "value", "regex")},
    )  # fmt: skip
    mostly = f" in at least {bounds['mostly']:.2%} of the rows" if "mostly" in bounds else ""
    return Expectation(
        name=entry.name or fit_name("_".join([*named, key.removeprefix("column_")])),
        asset="rows",
        level=level,
        kind=kind.gx,
        meaning=words + mostly + (f" ({shortened(entry.why, ERROR_CHARACTERS)})" if entry.why else ""),
        column=f"{prefix}{named[0]}" if kind.columns == ("column",) else None,
        bounds={**placed, **bounds},
        source=entry.where,
    )


def _level(entry: _Entry, kind: Kind) -> Level:
    plain: Level = "row" if kind.of_each_row and "mostly" not in entry.arguments else "set"
    if entry.level is None:
        return plain
    if entry.level not in ("row", "set"):
        raise SettingsError(f"{entry.where}: level is {_value(entry.level)}, expected row or set")
    if entry.level == "row" and plain == "set":
        why = "`mostly` is about all rows" if kind.of_each_row else "it looks at the whole column"
        raise SettingsError(f"{entry.where}: level is row, expected set: {why}")
    return cast("Level", entry.level)


def _names(entry: _Entry, part: str) -> list[str]:
    value = entry.arguments.get(part)
    names = value if part == "column_list" else [value]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        expected = "a list of columns" if part == "column_list" else "the name of a column"
        raise SettingsError(f"{entry.where}: {part} is {_value(value)}, expected {expected}")
    return [cast("str", name) for name in names]


def _checked(entry: _Entry, kind: Kind, level: Level) -> dict[str, JsonValue]:
    """The arguments beside columns, each looked at."""
    with_bounds = WITH_BOUNDS if kind.needs == BOUNDS else ()
    allowed = (*kind.columns, *(with_bounds or kind.needs), *(("mostly",) if kind.of_each_row else ()))
    given = {name: value for name, value in entry.arguments.items() if value is not None}
    for name in given:
        if name not in allowed:
            raise SettingsError(
                f"{entry.where}: {shown(name)} is nothing that {entry.kind} takes, expected"
                f" {', '.join(allowed)}{did_you_mean(name, allowed)}"
            )
    bounds: dict[str, JsonValue] = {name: value for name, value in given.items() if name not in kind.columns}
    if missing := [name for name in kind.needs if name not in bounds and not (with_bounds and "max_value" in bounds)]:
        raise SettingsError(f"{entry.where}: {entry.kind} needs {' or '.join(with_bounds[:2] or missing)}")
    for name, value in bounds.items():
        if wanted := unfit(name, value):
            raise SettingsError(f"{entry.where}: {name} is {_value(value)}, expected {wanted}")
    low, high = (cast("float", bounds.get(name)) for name in WITH_BOUNDS[:2])
    if low is not None and high is not None and low > high:
        raise SettingsError(f"{entry.where}: min_value {low:g} is above max_value {high:g}; exchange them")
    if bounds.get("mostly") == 1 and level == "row":
        del bounds["mostly"]
    return bounds


def _as_numbers(kind: Kind, bounds: Values) -> bool:
    values = bounds.get("value_set")
    return kind.looks == "number" or (
        kind.looks == "as its values" and isinstance(values, list) and not isinstance(values[0], str)
    )


def _bounds_in_words(bounds: Values) -> str:
    low, high = bounds.get("min_value"), bounds.get("max_value")
    above = None if low is None else ("above" if bounds.get("strict_min") else "at least") + f" {low:g}"
    below = None if high is None else ("below" if bounds.get("strict_max") else "at most") + f" {high:g}"
    return " and ".join(part for part in (above, below) if part)


def _in_words(value: JsonValue) -> str:
    return ", ".join(shown(one) for one in value[:20]) if isinstance(value, list) else shown(value)


def _value(value: JsonValue) -> str:
    """A value of the file in a sentence; of what holds others, only what it is."""
    return f"a {type(value).__name__}" if isinstance(value, list | dict) else shown(value)
