"""The rows as Great Expectations sees them: some of them at a time, where each can be judged by itself."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from graftline.data.columns import BATCH_ROWS, Column
from graftline.data.expectation import NOT_NULL, NULL, UNIQUE, Asset, Expectation
from graftline.data.numbering import Numbers, digests, numbered
from graftline.data.row_facts import RowFacts
from graftline.data.row_names import printable
from graftline.data.row_table import RowTable
from graftline.data.team_columns import AS_NUMBER, columns_as_read

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROW_ASSETS: tuple[Asset, ...] = ("lines", "rows")
# So many rows are judged at a time: enough that what each time costs by itself, a sixth of a second, is little.
JUDGED_ROWS = 250_000


@dataclass(frozen=True)
class RowFrames:
    """Expectations, and the frames that they are judged by, made anew each time: each row is in one of these."""

    name: str
    expectations: Sequence[Expectation]
    frames: "Callable[[], Iterator[pd.DataFrame]]"


def frames_of(
    asset: Asset, expectations: Sequence[Expectation], rows: RowTable, facts: RowFacts, names: Sequence[str]
) -> list[RowFrames]:
    """All of the expectations, in groups that are judged by the same frames. `names` are those of the rows' values.

    What a team expects may look at all rows together (a mean), so these are in one frame.
    """
    if asset == "lines":
        return [RowFrames("", expectations, lambda: _lines(rows))]
    ours = [one for one in expectations if one.source is None]
    alone, unique = [one for one in ours if one.kind != UNIQUE], [one for one in ours if one.kind == UNIQUE]
    team = [one for one in expectations if one.source is not None]
    groups = [RowFrames("by themselves", alone, lambda: _by_themselves(alone, facts))]
    groups += [RowFrames(one.name, [one], partial(_of_names, str(one.column), facts)) for one in unique]
    return groups + ([RowFrames("of the team", team, lambda: _of_team(team, facts, names))] if team else [])


def _lines(rows: RowTable) -> "Iterator[pd.DataFrame]":
    """Each line, with why it could not be read."""
    import pyarrow as pa

    faulty = np.sort(np.fromiter(rows.faults, np.int64, len(rows.faults)))
    for some in _ranges(len(rows)):
        said: list[str | None] = [None] * (some.stop - some.start)
        here = faulty[slice(*np.searchsorted(faulty, (some.start, some.stop)))].tolist()
        for place in here:
            said[place - some.start] = printable(rows.faults[place][0])
        yield _frame({"line": pa.array(rows.lines[some]), "fault": pa.array(said) if here else pa.nulls(len(said))})


def _by_themselves(expectations: Sequence[Expectation], facts: RowFacts) -> "Iterator[pd.DataFrame]":
    """The columns that these look at, as Arrow holds them."""
    kinds: dict[str, set[str]] = {"line": set()}
    for one in expectations:
        for name in one.columns:
            kinds.setdefault(name, set()).add(one.kind)
    compared = [name for name in kinds if kinds[name] - {NULL, NOT_NULL}]
    for some in _ranges(len(facts.rows)):

        def part(name: str, rows: slice = some) -> "pa.Array":
            values = facts.columns[name].between(rows.start, rows.stop)
            # What only has to be there is never shown, and texts take most of the room.
            return _presence(values) if kinds[name] == {NOT_NULL} else values

        yield _frame({name: part(name) for name in kinds}, compared)


def _of_names(name: str, facts: RowFacts) -> "Iterator[pd.DataFrame]":
    """A column of which no two values may be equal: equal ones are in one frame.

    Most stand there once, as their digests tell, and in place of these a number is enough.
    """
    import pyarrow as pa

    column, lines = facts.columns[name], facts.rows.lines
    numbers, is_there = _numbers(column), column.there
    is_again = (np.bincount(numbers)[numbers] > 1) & is_there if len(numbers) else is_there
    for some in _ranges(len(lines)):
        rows = some.start + np.flatnonzero(~is_again[some])
        yield _frame({"line": pa.array(lines[rows]), name: pa.array(numbers[rows], mask=~is_there[rows])}, [name])
    again = np.flatnonzero(is_again)
    again = again[np.argsort(numbers[again], kind="stable")]
    for some in _whole_runs(numbers[again]):
        rows = np.sort(again[some])
        yield _frame({"line": pa.array(lines[rows]), name: column.at(rows).values}, [name])


def _numbers(column: Column) -> Numbers:
    """Equal where two values are equal."""
    of_values = np.empty((len(column), 2), np.uint64)
    for some in _ranges(len(column), BATCH_ROWS):
        texts = column[some]
        of_values[some] = digests(b"" if text is None else str(text).encode() for text in texts)
    return numbered(of_values)


def _whole_runs(numbers: Numbers) -> Iterator[slice]:
    """Ranges of equal numbers which lie beside each other: as many of them as are judged at a time, at least one."""
    ends = np.flatnonzero(np.append(numbers[1:] != numbers[:-1], True)) + 1 if len(numbers) else numbers
    start = 0
    while start < len(numbers):
        fitting = ends[np.searchsorted(ends, start, side="right") : np.searchsorted(ends, start + JUDGED_ROWS, "right")]
        end = int(fitting[-1]) if len(fitting) else int(ends[np.searchsorted(ends, start, side="right")])
        yield slice(start, end)
        start = end


def _of_team(expectations: Sequence[Expectation], facts: RowFacts, names: Sequence[str]) -> "Iterator[pd.DataFrame]":
    """The columns that a team looks at as Python's objects.

    Arrow's regular expressions and comparisons are others than Great Expectations' own.
    """
    frame = _frame({"line": facts.columns["line"].values})
    for name, values in columns_as_read(facts.rows, names, expectations).items():
        frame[name] = np.array(values, float if name.startswith(AS_NUMBER) else object)
    yield frame


def _ranges(rows: int, at_once: int = 0) -> Iterator[slice]:
    """So many rows at a time; of none as well there is a frame."""
    step = at_once or JUDGED_ROWS
    for start in range(0, max(1, rows), step):
        yield slice(start, min(rows, start + step))


def _presence(values: "pa.Array") -> "pa.Array":
    """True for each row that has it, nothing for the others."""
    import pyarrow as pa

    there = values.is_valid().to_numpy(zero_copy_only=False)
    return pa.array(np.ones(len(values), np.bool_), mask=~there)


def _frame(columns: "Mapping[str, pa.Array]", compared: Collection[str] = ()) -> "pd.DataFrame":
    """The columns, of which some are compared with values: Arrow compares nothing with a column of no type."""
    import pandas as pd

    return pd.DataFrame(
        {
            name: np.full(len(values), None)
            if name in compared and values.null_count == len(values)
            else pd.Series(pd.arrays.ArrowExtensionArray(values))
            for name, values in columns.items()
        }
    )
