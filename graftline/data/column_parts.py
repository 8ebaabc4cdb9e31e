"""Where the values of a column lie: in memory, or some rows at a time in a file without a name."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from graftline.nameless_files import NamelessFile

if TYPE_CHECKING:
    import pyarrow as pa

# Of fewer bytes a column lies in memory: for most tables a file would be one more thing that may fail.
MOST_BYTES = 1 << 20


class Parts(Protocol):
    """The values of a column, in parts that follow each other."""

    @property
    def type(self) -> "pa.DataType": ...

    @property
    def ends(self) -> NDArray[np.int64]:
        """How many rows there are up to the end of each part; there is at least one part."""
        ...

    def read(self, part: int) -> "pa.Array":
        """The values of one part."""
        ...


class InMemory:
    """Parts that are not put together, for which there would have to be room twice."""

    def __init__(self, arrays: "Sequence[pa.Array]") -> None:
        self._arrays = arrays
        self.ends = np.cumsum([len(values) for values in arrays])

    @property
    def type(self) -> "pa.DataType":
        return self._arrays[0].type

    def read(self, part: int) -> "pa.Array":
        return self._arrays[part]


class Seen:
    """The values that are made of others whenever they are read."""

    def __init__(self, parts: Parts, kind: "pa.DataType", see: "Callable[[pa.Array], pa.Array]") -> None:
        self._parts, self._see = parts, see
        self.type, self.ends = kind, parts.ends

    def read(self, part: int) -> "pa.Array":
        return self._see(self._parts.read(part))


class _Written(NamedTuple):
    """Where a part lies in the file."""

    start: int
    size: int
    type: "pa.DataType"


class FiledParts:
    """A column that grows part by part: first in memory, from `MOST_BYTES` on in a file. Parts of nothing take no room.

    A file holds each part as Arrow sends it to another process (a record batch of one column).
    """

    def __init__(self) -> None:
        self._parts: list[pa.Array | _Written] = []
        self._rows: list[int] = []
        self._file: NamelessFile | None = None
        self._bytes = 0

    def add(self, values: "pa.Array") -> None:
        """One part more."""
        self._rows.append(len(values))
        self._bytes += values.nbytes
        if self._file is None and self._bytes > MOST_BYTES:
            self._file = NamelessFile()
            self._parts = [self._written(part, self._file) for part in self._parts if not isinstance(part, _Written)]
        self._parts.append(self._written(values, self._file) if self._file else values)

    def done(self, kind: "pa.DataType | None" = None) -> Parts:
        """All parts as values of one type, by default of the one that they have."""
        import pyarrow as pa

        kinds = {part.type for part in self._parts if not pa.types.is_null(part.type)}
        # Whole numbers in one batch, and others in the next.
        joined = pa.float64() if kinds == {pa.int64(), pa.float64()} else next(iter(kinds), pa.null())
        self.type = kind or joined
        if self._file is None:
            parts = [self.read(part) for part in range(len(self._parts))]
            return InMemory([pa.concat_arrays(parts) if parts else pa.array([], self.type)])
        self.ends = np.cumsum(self._rows)
        return self

    def read(self, part: int) -> "pa.Array":
        """The values of one part."""
        import pyarrow as pa

        values = self._parts[part]
        if isinstance(values, _Written):
            assert self._file is not None
            content = pa.py_buffer(self._file.read(values.size, values.start))
            schema = pa.schema([("", values.type)])
            values = pa.ipc.read_record_batch(pa.ipc.read_message(content), schema).column(0)
        return values.cast(self.type)

    def _written(self, values: "pa.Array", file: NamelessFile) -> "pa.Array | _Written":
        import pyarrow as pa

        if pa.types.is_null(values.type):
            return values
        content = pa.record_batch([values], [""]).serialize()
        return _Written(file.append(content), content.size, values.type)
