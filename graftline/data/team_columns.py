"""The table's own columns as a team's expectations see them: as the texts that stand there, and as numbers."""

import math
import re
from collections.abc import Iterable, Sequence

from graftline.data.columns import Fact
from graftline.data.expectation import NULL, Expectation
from graftline.data.row_names import printable
from graftline.data.row_table import RowTable
from graftline.data.tables import NUMBER
from graftline.wording import shown

# What stands in front of a column's name says how it is seen.
AS_TEXT, AS_NUMBER, NO_NUMBER = "table.", "number.", "no number."
NAME_CHARACTERS = 60


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
            f"{fit_name(column)}_column_present",
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
            f"{fit_name(own_column(column))}_is_number",
            "rows",
            one.level,
            NULL,
            f"every value of {shown(own_column(column))} is a number",
            f"{NO_NUMBER}{own_column(column)}",
            source=one.source,
        )
        for column, one in wanted.items()
    ]


def columns_as_read(rows: RowTable, names: Sequence[str], expectations: Sequence[Expectation]) -> dict[str, list[Fact]]:
    """The columns that these look at, as texts and as numbers; an empty cell is a missing value."""
    columns: dict[str, list[Fact]] = {}
    for wanted in dict.fromkeys(column for one in expectations if one.asset == "rows" for column in one.columns):
        place = names.index(own_column(wanted))
        texts = [str(one) if one else None for one in (rows.values[place] if rows.values else ())]
        if wanted.startswith(AS_NUMBER):
            columns[wanted] = [None if text is None else _number(text) for text in texts]
        elif wanted.startswith(NO_NUMBER):
            columns[wanted] = [
                printable(text) if text is not None and _number(text) is None else None for text in texts
            ]
        else:
            columns[wanted] = [None if text is None else printable(text) for text in texts]
    return columns


def fit_name(text: str) -> str:
    """A name that can stand before the colon of a reason."""
    return re.sub(r"[^\w.-]+", "_", printable(text))[:NAME_CHARACTERS]


def _number(text: str) -> float | None:
    """The finite number that a text says."""
    if not NUMBER.fullmatch(text.strip()):
        return None
    number = float(text)
    return number if math.isfinite(number) else None
