"""The rows of a table, held as columns; each row is made anew when it is asked for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import overload

import numpy as np
from numpy.typing import NDArray

from graftline.data.columns import BATCH_ROWS, Column, GrowingColumns, raw
from graftline.data.splitting import SPLITS, Split
from graftline.data.tables import Row


@dataclass(frozen=True, eq=False)
class RowTable(Sequence[Row]):
    """Rows in the table's order. Only those that could not be read are kept as Python's objects."""

    lines: NDArray[np.int64]
    values: tuple[Column, ...]
    """The values of each column, of any characters; none of a row that could not be read."""
    faults: Mapping[int, tuple[str, str]]
    """By the places of rows that could not be read: why, and how they stand there."""
    sides: NDArray[np.int8]
    """The places in `SPLITS` that the rows' folders say, or -1."""

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "RowTable":
        """All of the rows, of which one batch at a time is an object."""
        left, lines, sides = iter(rows), list[NDArray[np.int64]](), list[NDArray[np.int8]]()
        growing, faults, count = GrowingColumns(), dict[int, tuple[str, str]](), 0
        while some := list(islice(left, BATCH_ROWS)):
            lines.append(np.array([row.line for row in some], np.int64))
            sides.append(np.array([-1 if row.side is None else SPLITS.index(row.side) for row in some], np.int8))
            by_column = zip(*(row.values for row in some), strict=True)
            growing.add({str(place): raw(values) for place, values in enumerate(by_column)})
            faults |= {count + place: (row.fault, row.raw) for place, row in enumerate(some) if row.fault is not None}
            count += len(some)
        return cls(
            np.concatenate([np.zeros(0, np.int64), *lines]),
            tuple(growing.done().values()),
            faults,
            np.concatenate([np.zeros(0, np.int8), *sides]),
        )

    def __len__(self) -> int:
        return len(self.lines)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> "RowTable": ...
    def __getitem__(self, place: int | slice) -> "Row | RowTable":
        if not isinstance(place, slice):
            place = range(len(self))[place]
            return next(iter(self[place : place + 1]))
        at = {one: number for number, one in enumerate(range(len(self))[place])} if self.faults else {}
        return RowTable(
            self.lines[place],
            tuple(column[place] for column in self.values),
            {at[one]: fault for one, fault in self.faults.items() if one in at},
            self.sides[place],
        )

    def __iter__(self) -> Iterator[Row]:
        values = zip(*self.values, strict=True) if self.values else repeat(())
        for place, (line, texts, side) in enumerate(zip(self.lines, values, self.split_sides, strict=False)):
            fault, said = self.faults.get(place, (None, ""))
            yield Row(int(line), tuple(None if text is None else str(text) for text in texts), fault, said, side)

    @property
    def split_sides(self) -> "list[Split | None]":
        """The side that each row's folder says."""
        return [None if side < 0 else SPLITS[side] for side in self.sides.tolist()]

    def where(self, chosen: NDArray[np.bool_]) -> "RowTable":
        """The rows that are chosen."""
        if chosen.all():
            return self
        behind = np.cumsum(chosen) - 1
        return RowTable(
            self.lines[chosen],
            tuple(column.where(chosen) for column in self.values),
            {int(behind[place]): fault for place, fault in self.faults.items() if chosen[place]},
            self.sides[chosen],
        )

    @property
    def readable(self) -> "RowTable":
        """Those that could be read."""
        chosen = np.ones(len(self), np.bool_)
        chosen[list(self.faults)] = False
        return self.where(chosen)
