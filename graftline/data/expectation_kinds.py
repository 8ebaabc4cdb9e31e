"""The kinds of expectations that a team may add, and which arguments are fit for each."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from pydantic import JsonValue

from graftline.data.expectation import BETWEEN, IN_SET, NOT_NULL, NULL, UNIQUE
from graftline.wording import ERROR_CHARACTERS, shortened

MOST_VALUES, PATTERN_CHARACTERS = 10_000, 500

Looks = Literal["text", "number", "as its values"]


@dataclass(frozen=True)
class Kind:
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


BOUNDS = ("min_value",)
_EACH = "every value of {columns} "
KINDS: Mapping[str, Kind] = {
    "column_values_to_be_between": Kind(
        BETWEEN, _EACH + "is a number {bounds}", needs=BOUNDS, of_each_row=True, looks="number"
    ),
    "column_values_to_be_in_set": Kind(
        IN_SET, _EACH + "is one of {value_set}", needs=("value_set",), of_each_row=True, looks="as its values"
    ),
    "column_values_to_not_be_in_set": Kind(
        "ExpectColumnValuesToNotBeInSet", _EACH + "is none of {value_set}", needs=("value_set",), of_each_row=True,
        looks="as its values",
    ),
    "column_values_to_not_be_null": Kind(NOT_NULL, "no value of {columns} is missing", of_each_row=True),
    "column_values_to_be_null": Kind(NULL, "{columns} holds nothing", of_each_row=True),
    "column_values_to_be_unique": Kind(
        UNIQUE, "no value of {columns} stands there twice", of_each_row=True
    ),
    "column_value_lengths_to_be_between": Kind(
        "ExpectColumnValueLengthsToBeBetween", "the length of " + _EACH + "is {bounds}", needs=BOUNDS,
        of_each_row=True,
    ),
    "column_value_lengths_to_equal": Kind(
        "ExpectColumnValueLengthsToEqual", _EACH + "has {value} characters", needs=("value",), of_each_row=True
    ),
    "column_values_to_match_regex": Kind(
        "ExpectColumnValuesToMatchRegex", _EACH + "matches {regex}", needs=("regex",), of_each_row=True
    ),
    "column_values_to_not_match_regex": Kind(
        "ExpectColumnValuesToNotMatchRegex", "no value of {columns} matches {regex}", needs=("regex",),
        of_each_row=True,
    ),
    "column_pair_values_to_be_equal": Kind(
        "ExpectColumnPairValuesToBeEqual", "{columns} are equal in every row", ("column_A", "column_B"),
        of_each_row=True,
    ),
    "column_pair_values_a_to_be_greater_than_b": Kind(
        "ExpectColumnPairValuesAToBeGreaterThanB", "of {columns} the first is greater in every row",
        ("column_A", "column_B"), of_each_row=True, looks="number",
    ),
    "compound_columns_to_be_unique": Kind(
        "ExpectCompoundColumnsToBeUnique", "no two rows agree in {columns}", ("column_list",), of_each_row=True
    ),
    **{
        f"column_{name}_to_be_between": Kind(
            f"ExpectColumn{name.title()}ToBeBetween", f"the {word} of {{columns}} is {{bounds}}", needs=BOUNDS,
            looks="number",
        )
        for name, word in (
            ("min", "smallest value"), ("max", "largest value"), ("mean", "mean"), ("median", "median"),
            ("sum", "sum"), ("stdev", "standard deviation"),
        )
    },
    "column_unique_value_count_to_be_between": Kind(
        "ExpectColumnUniqueValueCountToBeBetween", "the number of different values of {columns} is {bounds}",
        needs=BOUNDS,
    ),
    "column_proportion_of_unique_values_to_be_between": Kind(
        "ExpectColumnProportionOfUniqueValuesToBeBetween", "the share of different values of {columns} is {bounds}",
        needs=BOUNDS,
    ),
    "column_distinct_values_to_be_in_set": Kind(
        "ExpectColumnDistinctValuesToBeInSet", "{columns} holds nothing but {value_set}", needs=("value_set",),
        looks="as its values",
    ),
    "column_distinct_values_to_contain_set": Kind(
        "ExpectColumnDistinctValuesToContainSet", "{columns} holds each of {value_set}", needs=("value_set",),
        looks="as its values",
    ),
    "column_distinct_values_to_equal_set": Kind(
        "ExpectColumnDistinctValuesToEqualSet", "{columns} holds each of {value_set} and nothing else",
        needs=("value_set",), looks="as its values",
    ),
    "table_row_count_to_be_between": Kind(
        "ExpectTableRowCountToBeBetween", "the number of readable rows is {bounds}", (), needs=BOUNDS
    ),
    "table_row_count_to_equal": Kind(
        "ExpectTableRowCountToEqual", "there are {value} readable rows", (), needs=("value",)
    ),
}  # fmt: skip
WITH_BOUNDS = ("min_value", "max_value", "strict_min", "strict_max")


def unfit(name: str, value: JsonValue) -> str | None:
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
        return f"{expected} ({in_short(error)})"
    return None


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_set(value: JsonValue) -> bool:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_VALUES:
        return False
    return all(isinstance(one, str) for one in value) or all(_is_number(one) for one in value)


def in_short(error: Exception) -> str:
    """What another library says of a fault, in one line."""
    return shortened(" ".join(str(error).split()), ERROR_CHARACTERS)
