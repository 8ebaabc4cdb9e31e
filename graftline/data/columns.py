"""Columns of facts as Arrow holds them, in memory or in a file: a few of their rows are Python's objects at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from graftline.data.column_parts import FiledParts, InMemory, Parts, Seen

if TYPE_CHECKING:
    import pyarrow as pa

Fact = str | int | float | None
# So many rows are Python's objects at a time.
BATCH_ROWS = 10_000


class Column(Sequence[Fact]):
    """One fact of every row. What stands in bytes is text that may hold what is not valid Unicode."""

    def __init__(self, values: "pa.Array | Parts") -> None:
        import pyarrow as pa

        self._parts: Parts = InMemory([values]) if isinstance(values, pa.Array) else values
        self._is_raw = pa.types.is_large_binary(self._parts.type)

    def __len__(self) -> int:
        return int(self._parts.ends[-1])

    @overload
    def __getitem__(self, place: int) -> Fact: ...
    @overload
    def __getitem__(self, place: slice) -> "Column": ...
    def __getitem__(self, place: int | slice) -> "Fact | Column":
        if isinstance(place, slice):
            rows = range(len(self))[place]
            return Column(self.between(rows.start, rows.stop)) if rows.step == 1 else self.at(rows)
        # Arrow takes no integers of NumPy's, and a sequence ends with an IndexError.
        at = range(len(self))[int(place)]
        return self._read(self.between(at, at + 1)[0].as_py())

    def __iter__(self) -> Iterator[Fact]:
        for some in self.arrays():
            for start in range(0, len(some), BATCH_ROWS):
                yield from self._facts(some.slice(start, BATCH_ROWS))

    def _facts(self, some: "pa.Array") -> "Iterable[Fact]":
        import pyarrow as pa

        if self._is_raw:
            try:
                some = some.cast(pa.large_string())  # nearly all are valid, and then Arrow is faster
            except pa.ArrowInvalid:
                return map(self._read, some.to_pylist())
        facts: list[Fact] = some.to_pylist()
        return facts

    def _read(self, value: "Fact | bytes") -> Fact:
        return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value

    @property
    def type(self) -> "pa.DataType":
        """Arrow's type of the values."""
        return self._parts.type

    @property
    def values(self) -> "pa.Array":
        """All of them, in memory."""
        return self.between(0, len(self))

    def arrays(self) -> "Iterator[pa.Array]":
        """The values, some rows at a time."""
        return map(self._parts.read, range(len(self._parts.ends)))

    def between(self, start: int, stop: int) -> "pa.Array":
        """The values of the rows from `start` to `stop`, in memory."""
        import pyarrow as pa

        ends = self._parts.ends
        found = []
        for part in range(int(np.searchsorted(ends, start, side="right")), len(ends)):
            before = int(ends[part - 1]) if part else 0
            if before >= stop:
                break
            first = max(0, start - before)
            found.append(self._parts.read(part).slice(first, stop - before - first))
        return found[0] if len(found) == 1 else pa.concat_arrays(found) if found else pa.array([], self.type)

    def at(self, places: "Sequence[int] | NDArray[np.int64]") -> "Column":
        """The facts of some rows, in this order, in memory."""
        import pyarrow as pa

        wanted, ends = np.asarray(places, np.int64), self._parts.ends
        if len(ends) == 1:
            return Column(self._parts.read(0).take(wanted))
        order = None if (wanted[1:] >= wanted[:-1]).all() else np.argsort(wanted, kind="stable")
        rising = wanted if order is None else wanted[order]
        bounds = np.searchsorted(rising, [0, *ends.tolist()])
        found = [pa.array([], self.type)]
        for number in np.flatnonzero(bounds[1:] > bounds[:-1]).tolist():
            before = int(ends[number - 1]) if number else 0
            found.append(self._parts.read(number).take(rising[bounds[number] : bounds[number + 1]] - before))
        if order is None:
            return Column(InMemory(found))
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return Column(pa.concat_arrays(found).take(back))

    def where(self, chosen: NDArray[np.bool_]) -> "Column":
        """The facts of the rows that are chosen; of a column in a file in another file."""
        if isinstance(self._parts, InMemory):
            return self.at(np.flatnonzero(chosen))
        kept, before = FiledParts(), 0
        for some in self.arrays():
            kept.add(some.take(np.flatnonzero(chosen[before : before + len(some)])))
            before += len(some)
        return Column(kept.done(self.type))

    def seen_as(self, kind: "pa.DataType", see: "Callable[[pa.Array], pa.Array]") -> "Column":
        """What `see` makes of the values, of this type, made anew whenever it is asked for."""
        return Column(Seen(self._parts, kind, see))

    @property
    def there(self) -> NDArray[np.bool_]:
        """Which rows have it."""
        parts = [some.is_valid().to_numpy(zero_copy_only=False) for some in self.arrays()]
        return np.concatenate(parts)


class GrowingColumns:
    """Columns that are put together batch by batch, each of one type, whatever stands in the first batches."""

    def __init__(self) -> None:
        self._parts: dict[str, FiledParts] = {}

    def add(self, batch: Mapping[str, Iterable[Fact | bytes]]) -> None:
        import pyarrow as pa

        for name, facts in batch.items():
            some = list(facts)
            first = next((fact for fact in some if fact is not None), None)
            # Arrow's own choice for texts ends at two gigabytes.
            text = pa.large_string() if isinstance(first, str) else None
            kind = pa.large_binary() if isinstance(first, bytes) else text
            self._parts.setdefault(name, FiledParts()).add(pa.array(some, kind))

    def done(self) -> dict[str, Column]:
        """All columns; these hold nothing afterwards."""
        columns = {name: Column(parts.done()) for name, parts in self._parts.items()}
        self._parts.clear()
        return columns


def raw(texts: Iterable[str | None]) -> list[bytes | None]:
    """Texts as bytes, because Arrow's own may hold nothing that is not valid Unicode."""
    return [None if text is None else text.encode("utf-8", "surrogatepass") for text in texts]
