"""Columns of facts as Arrow holds them: a few bytes a row, where lists of Python's objects take hundreds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Fact = str | int | float | None
# So many rows are Python's objects at a time.
BATCH_ROWS = 10_000


class Column(Sequence[Fact]):
    """One fact of every row. What stands in bytes is text that may hold what is not valid Unicode."""

    def __init__(self, values: "pa.Array") -> None:
        import pyarrow as pa

        self.values = values
        self._is_raw = pa.types.is_large_binary(values.type)

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, place: int) -> Fact: ...
    @overload
    def __getitem__(self, place: slice) -> "Column": ...
    def __getitem__(self, place: int | slice) -> "Fact | Column":
        if isinstance(place, slice):
            return Column(self.values[place])
        # Arrow takes no integers of NumPy's, and a sequence ends with an IndexError.
        return self._read(self.values[int(place)].as_py())

    def __iter__(self) -> Iterator[Fact]:
        for start in range(0, len(self), BATCH_ROWS):
            yield from self._facts(self.values.slice(start, BATCH_ROWS))

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

    def at(self, places: "Sequence[int] | NDArray[np.int64]") -> "Column":
        """The facts of some rows, in this order."""
        return Column(self.values.take(np.asarray(places, np.int64)))

    def where(self, chosen: NDArray[np.bool_]) -> "Column":
        """The facts of the rows that are chosen."""
        return Column(self.values.take(np.flatnonzero(chosen)))

    @property
    def there(self) -> NDArray[np.bool_]:
        """Which rows have it."""
        there: NDArray[np.bool_] = self.values.is_valid().to_numpy(zero_copy_only=False)
        return there


class GrowingColumns:
    """Columns that are put together batch by batch, each of one type, whatever stands in the first batches."""

    def __init__(self) -> None:
        self._parts: dict[str, list[pa.Array]] = {}

    def add(self, batch: Mapping[str, Iterable[Fact | bytes]]) -> None:
        import pyarrow as pa

        for name, facts in batch.items():
            some = list(facts)
            first = next((fact for fact in some if fact is not None), None)
            # Arrow's own choice for texts ends at two gigabytes.
            text = pa.large_string() if isinstance(first, str) else None
            kind = pa.large_binary() if isinstance(first, bytes) else text
            self._parts.setdefault(name, []).append(pa.array(some, kind))

    def done(self) -> dict[str, Column]:
        """All columns; these hold nothing afterwards."""
        columns = {name: Column(_joined(self._parts[name])) for name in [*self._parts] if self._parts.get(name)}
        self._parts.clear()
        return columns


def raw(texts: Iterable[str | None]) -> list[bytes | None]:
    """Texts as bytes, because Arrow's own may hold nothing that is not valid Unicode."""
    return [None if text is None else text.encode("utf-8", "surrogatepass") for text in texts]


def numbered(parts: "Sequence[pa.Array]") -> "tuple[NDArray[np.int64], pa.Array]":
    """The number of each value, equal where two are equal, in order of first appearance; and the values by number.

    The values come in one array or more.
    """
    import pyarrow as pa

    if not any(map(len, parts)):
        return np.zeros(0, np.int64), parts[0]
    named = pa.chunked_array(parts).dictionary_encode().chunks  # with one dictionary for all
    numbers = np.concatenate([one.indices.to_numpy(zero_copy_only=False).astype(np.int64) for one in named])
    return numbers, named[0].dictionary


def _joined(parts: "list[pa.Array]") -> "pa.Array":
    import pyarrow as pa

    kinds = {part.type for part in parts if not pa.types.is_null(part.type)}
    # Whole numbers in one batch, and others in the next.
    kind = pa.float64() if kinds == {pa.int64(), pa.float64()} else next(iter(kinds), pa.null())
    joined = pa.concat_arrays([part.cast(kind) for part in parts])
    parts.clear()
    pa.default_memory_pool().release_unused()
    return joined
