"""Expectations that a team adds to ours, about the table's own columns as they were read: from YAML or a GX suite."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import yaml
from pydantic import JsonValue

from graftline.data.expectation import BETWEEN, IN_SET, NOT_NULL, NULL, Expectation, Level
from graftline.data.row_facts import Fact
from graftline.data.row_names import printable
from graftline.data.tables import NUMBER, Row
from graftline.errors import SettingsError
from graftline.wording import ERROR_CHARACTERS, did_you_mean, shortened, shown

# Of our own making in a suite that was written by us: what is expected of every table, whoever adds to it.
OURS = "graftline"
# A column is seen twice: as the text that stands there, and as the number that it says.
AS_TEXT, AS_NUMBER, NO_NUMBER = "table.", "number.", "no number."
MOST_EXPECTATIONS, MOST_VALUES, PATTERN_CHARACTERS, NAME_CHARACTERS = 500, 10_000, 500, 60

Values = Mapping[str, JsonValue]
Looks = Literal["text", "number", "as its values"]


@dataclass(frozen=True)
class _Kind:
    """One of Great Expectations' classes that may be asked for."""

    gx: str
    words: str
    """Its meaning, with `{columns}` and its arguments."""
    columns: tuple[str, ...] = ("column",)
    """The arguments that name columns."""
    needs: tuple[str, ...] = ()
    """The arguments that it needs; `min_value` stands for that or `max_value`."""
    of_each_row: bool = False
    looks: Looks = "text"


_BOUNDS = ("min_value",)
_EACH = "every value of {columns} "
KINDS: Mapping[str, _Kind] = {
    "column_values_to_be_between": _Kind(
        BETWEEN, _EACH + "is a number {bounds}", needs=_BOUNDS, of_each_row=True, looks="number"
    ),
    "column_values_to_be_in_set": _Kind(
        IN_SET, _EACH + "is one of {value_set}", needs=("value_set",), of_each_row=True, looks="as its values"
    ),
    "column_values_to_not_be_in_set": _Kind(
        "ExpectColumnValuesToNotBeInSet", _EACH + "is none of {value_set}", needs=("value_set",), of_each_row=True,
        looks="as its values",
    ),
    "column_values_to_not_be_null": _Kind(NOT_NULL, "no value of {columns} is missing", of_each_row=True),
    "column_values_to_be_null": _Kind(NULL, "{columns} holds nothing", of_each_row=True),
    "column_values_to_be_unique": _Kind(
        "ExpectColumnValuesToBeUnique", "no value of {columns} stands there twice", of_each_row=True
    ),
    "column_value_lengths_to_be_between": _Kind(
        "ExpectColumnValueLengthsToBeBetween", "the length of " + _EACH + "is {bounds}", needs=_BOUNDS,
        of_each_row=True,
    ),
    "column_value_lengths_to_equal": _Kind(
        "ExpectColumnValueLengthsToEqual", _EACH + "has {value} characters", needs=("value",), of_each_row=True
    ),
    "column_values_to_match_regex": _Kind(
        "ExpectColumnValuesToMatchRegex", _EACH + "matches {regex}", needs=("regex",), of_each_row=True
    ),
    "column_values_to_not_match_regex": _Kind(
        "ExpectColumnValuesToNotMatchRegex", "no value of {columns} matches {regex}", needs=("regex",),
        of_each_row=True,
    ),
    "column_pair_values_to_be_equal": _Kind(
        "ExpectColumnPairValuesToBeEqual", "{columns} are equal in every row", ("column_A", "column_B"),
        of_each_row=True,
    ),
    "column_pair_values_a_to_be_greater_than_b": _Kind(
        "ExpectColumnPairValuesAToBeGreaterThanB", "of {columns} the first is greater in every row",
        ("column_A", "column_B"), of_each_row=True, looks="number",
    ),
    "compound_columns_to_be_unique": _Kind(
        "ExpectCompoundColumnsToBeUnique", "no two rows agree in {columns}", ("column_list",), of_each_row=True
    ),
    **{
        f"column_{name}_to_be_between": _Kind(
            f"ExpectColumn{name.title()}ToBeBetween", f"the {word} of {{columns}} is {{bounds}}", needs=_BOUNDS,
            looks="number",
        )
        for name, word in (
            ("min", "smallest value"), ("max", "largest value"), ("mean", "mean"), ("median", "median"),
            ("sum", "sum"), ("stdev", "standard deviation"),
        )
    },
    "column_unique_value_count_to_be_between": _Kind(
        "ExpectColumnUniqueValueCountToBeBetween", "the number of different values of {columns} is {bounds}",
        needs=_BOUNDS,
    ),
    "column_proportion_of_unique_values_to_be_between": _Kind(
        "ExpectColumnProportionOfUniqueValuesToBeBetween", "the share of different values of {columns} is {bounds}",
        needs=_BOUNDS,
    ),
    "column_distinct_values_to_be_in_set": _Kind(
        "ExpectColumnDistinctValuesToBeInSet", "{columns} holds nothing but {value_set}", needs=("value_set",),
        looks="as its values",
    ),
    "column_distinct_values_to_contain_set": _Kind(
        "ExpectColumnDistinctValuesToContainSet", "{columns} holds each of {value_set}", needs=("value_set",),
        looks="as its values",
    ),
    "column_distinct_values_to_equal_set": _Kind(
        "ExpectColumnDistinctValuesToEqualSet", "{columns} holds each of {value_set} and nothing else",
        needs=("value_set",), looks="as its values",
    ),
    "table_row_count_to_be_between": _Kind(
        "ExpectTableRowCountToBeBetween", "the number of readable rows is {bounds}", (), needs=_BOUNDS
    ),
    "table_row_count_to_equal": _Kind(
        "ExpectTableRowCountToEqual", "there are {value} readable rows", (), needs=("value",)
    ),
}  # fmt: skip
_WITH_BOUNDS = ("min_value", "max_value", "strict_min", "strict_max")


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
        raise SettingsError(f"{file}: not readable as YAML ({_short(error)}); mend it") from None
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
        raise SettingsError(f"{file}: not readable as JSON ({_short(error)}); mend it") from None
    if not isinstance(content, dict):
        raise SettingsError(
            f"{file}: holds no suite, expected an object with `expectations`; write to_json_dict() there"
        )
    listed = _listed(content.get("expectations"), file, "an object with the list `expectations`")
    entries = [_suite_entry(f"{file}, expectation {number}", entry) for number, entry in enumerate(listed, start=1)]
    return _expectations([entry for entry in entries if entry is not None])


def columns_of(expectations: Iterable[Expectation]) -> list[str]:
    """The table's columns that these look at, each once."""
    named = (column for expectation in expectations for column in expectation.columns)
    return list(dict.fromkeys(own_column(column) for column in named))


def own_column(column: str) -> str:
    """A column's name in the table, from that in the rows that Great Expectations sees."""
    for prefix in (AS_TEXT, AS_NUMBER, NO_NUMBER):
        if column.startswith(prefix):
            return column.removeprefix(prefix)
    return column


def present(expectations: Sequence[Expectation]) -> list[Expectation]:
    """That the table has the columns that these look at."""
    first = {own_column(column): one for one in reversed(expectations) for column in one.columns}
    return [
        Expectation(
            f"{_fit_name(column)}_column_present",
            "header",
            "set",
            "ExpectColumnToExist",
            f"the table has the column {shown(column)} that {first[column].source} names",
            printable(column),
            source=first[column].source,
        )
        for column in columns_of(expectations)
    ]


def are_numbers(expectations: Sequence[Expectation]) -> list[Expectation]:
    """That what these see as numbers is numbers: Great Expectations passes over what is none."""
    wanted: dict[str, Expectation] = {}
    for one in expectations:
        for column in one.columns:
            if column.startswith(AS_NUMBER) and (column not in wanted or one.level == "row"):
                wanted[column] = one
    return [
        Expectation(
            f"{_fit_name(own_column(column))}_is_number",
            "rows",
            one.level,
            NULL,
            f"every value of {shown(own_column(column))} is a number",
            f"{NO_NUMBER}{own_column(column)}",
            source=one.source,
        )
        for column, one in wanted.items()
    ]


def columns_as_read(
    rows: Sequence[Row], names: Sequence[str], expectations: Sequence[Expectation]
) -> dict[str, list[Fact]]:
    """The columns that these look at, as texts and as numbers; an empty cell is a missing value."""
    columns: dict[str, list[Fact]] = {}
    for wanted in dict.fromkeys(column for one in expectations if one.asset == "rows" for column in one.columns):
        place = names.index(own_column(wanted))
        texts = [row.values[place] or None for row in rows]
        if wanted.startswith(AS_NUMBER):
            columns[wanted] = [None if text is None else _number(text) for text in texts]
        elif wanted.startswith(NO_NUMBER):
            columns[wanted] = [
                printable(text) if text is not None and _number(text) is None else None for text in texts
            ]
        else:
            columns[wanted] = [None if text is None else printable(text) for text in texts]
    return columns


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
    if entry.name is not None and (not isinstance(entry.name, str) or _fit_name(entry.name) != entry.name):
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
        name=entry.name or _fit_name("_".join([*named, key.removeprefix("column_")])),
        asset="rows",
        level=level,
        kind=kind.gx,
        meaning=words + mostly + (f" ({shortened(entry.why, ERROR_CHARACTERS)})" if entry.why else ""),
        column=f"{prefix}{named[0]}" if kind.columns == ("column",) else None,
        bounds={**placed, **bounds},
        source=entry.where,
    )


def _level(entry: _Entry, kind: _Kind) -> Level:
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


def _checked(entry: _Entry, kind: _Kind, level: Level) -> dict[str, JsonValue]:
    """The arguments beside columns, each looked at."""
    with_bounds = _WITH_BOUNDS if kind.needs == _BOUNDS else ()
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
        if wanted := _unfit(name, value):
            raise SettingsError(f"{entry.where}: {name} is {_value(value)}, expected {wanted}")
    low, high = (cast("float", bounds.get(name)) for name in _WITH_BOUNDS[:2])
    if low is not None and high is not None and low > high:
        raise SettingsError(f"{entry.where}: min_value {low:g} is above max_value {high:g}; exchange them")
    if bounds.get("mostly") == 1 and level == "row":
        del bounds["mostly"]
    return bounds


def _unfit(name: str, value: JsonValue) -> str | None:
    """What was expected in place of an argument, if it is not fit."""
    checks: Mapping[str, tuple[Callable[[JsonValue], bool], str]] = {
        "min_value": (_is_number, "a finite number"),
        "max_value": (_is_number, "a finite number"),
        "strict_min": (lambda given: isinstance(given, bool), "true or false"),
        "strict_max": (lambda given: isinstance(given, bool), "true or false"),
        "value": (
            lambda given: isinstance(given, int) and not isinstance(given, bool) and given >= 0,
            "a whole number",
        ),
        "mostly": (lambda given: _is_number(given) and 0 < cast("float", given) <= 1, "a share above 0, at most 1"),
        "value_set": (
            _is_set,
            f"a list of at most {MOST_VALUES:,} texts, or of numbers; write yes, no and dates in quotes",
        ),
    }
    if name == "regex":
        return _unfit_pattern(value)
    fits, expected = checks[name]
    return None if fits(value) else expected


def _unfit_pattern(value: JsonValue) -> str | None:
    """Only what RE2 reads: whatever stands in a table, it takes no longer than the text is long."""
    import pyarrow as pa
    from pyarrow import compute

    expected = f"a regular expression of at most {PATTERN_CHARACTERS} characters, as RE2 reads it"
    if not isinstance(value, str) or not 0 < len(value) <= PATTERN_CHARACTERS:
        return expected
    try:
        compute.match_substring_regex(pa.array([""]), value)
        re.compile(value)
    except (pa.ArrowException, re.error, UnicodeError) as error:
        return f"{expected} ({_short(error)})"
    return None


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_set(value: JsonValue) -> bool:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_VALUES:
        return False
    return all(isinstance(one, str) for one in value) or all(_is_number(one) for one in value)


def _as_numbers(kind: _Kind, bounds: Values) -> bool:
    values = bounds.get("value_set")
    return kind.looks == "number" or (
        kind.looks == "as its values" and isinstance(values, list) and not isinstance(values[0], str)
    )


def _number(text: str) -> float | None:
    """The finite number that a text says."""
    if not NUMBER.fullmatch(text.strip()):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _fit_name(text: str) -> str:
    """A name that can stand before the colon of a reason."""
    return re.sub(r"[^\w.-]+", "_", printable(text))[:NAME_CHARACTERS]


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


def _short(error: Exception) -> str:
    return shortened(" ".join(str(error).split()), ERROR_CHARACTERS)
