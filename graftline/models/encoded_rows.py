"""Encoded rows that are too many for a list of Python's objects: end to end in a file, joined, or some of others."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from graftline.nameless_files import NamelessFile

if TYPE_CHECKING:
    from graftline.models.preprocessing import Encoded

Numbers = np.ndarray[tuple[int], np.dtype[np.int32]]
# Of each thing that the model reads of a text, one number per token.
Tokens = dict[str, Numbers]
# What takes more lies in a file without a name instead of in memory.
MOST_BYTES = 1 << 20
ITEM_BYTES = np.dtype(np.int32).itemsize


class Measures(Protocol):
    """Says how long an encoded row is."""

    def length(self, row: "Encoded") -> int: ...


@runtime_checkable
class Measured(Protocol):
    """Rows that know their lengths without being read."""

    def lengths_by(self, measures: Measures) -> NDArray[np.int32]: ...


def lengths_of(encoded: Sequence[Any], measures: Measures) -> Sequence[int]:
    """The lengths of rows."""
    if isinstance(encoded, Measured):
        return cast("Sequence[int]", encoded.lengths_by(measures))
    return [measures.length(row) for row in encoded]


class TokenRows(Sequence[Tokens]):
    """The tokens of many texts. A row is read when it is asked for, and has the numbers that were put in."""

    def __init__(self, parts: Iterable[Sequence[Tokens]]) -> None:
        """The rows of all parts, in order; each has as many numbers of one thing as of another."""
        lengths, fields = list[NDArray[np.int32]](), dict[str, _Field]()
        for part in parts:
            lengths.append(np.array([len(next(iter(row.values()))) for row in part], np.int32))
            for name in part[0]:
                fields.setdefault(name, _Field()).add(np.concatenate([row[name] for row in part]))
        for field in fields.values():
            field.finish()
        self._fields, self._lengths = fields, np.concatenate(lengths)
        self._ends = np.cumsum(self._lengths, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._lengths)

    @overload
    def __getitem__(self, place: int) -> Tokens: ...
    @overload
    def __getitem__(self, place: slice) -> "ChosenRows": ...
    def __getitem__(self, place: int | slice) -> "Tokens | ChosenRows":
        if isinstance(place, slice):
            return ChosenRows(self, range(*place.indices(len(self))))
        end, length = int(self._ends[place]), int(self._lengths[place])
        return {name: field.read(end - length, length) for name, field in self._fields.items()}

    def lengths_by(self, _measures: Measures) -> NDArray[np.int32]:
        """Tokens of each."""
        return self._lengths


class JoinedRows(Sequence[Any]):
    """The rows of several sequences, one behind the other."""

    def __init__(self, parts: Sequence[Sequence[Any]]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return ChosenRows(self, range(*place.indices(len(self))))
        place = range(len(self))[place]  # also from the end, and none behind it
        part = int(np.searchsorted(self._ends, place, side="right"))
        return self._parts[part][place - (int(self._ends[part - 1]) if part else 0)]

    def lengths_by(self, measures: Measures) -> NDArray[np.int32]:
        """Those of the parts."""
        return np.concatenate([np.asarray(lengths_of(part, measures), np.int32) for part in self._parts])


class ChosenRows(Sequence[Any]):
    """Some rows of another sequence, by their places there."""

    def __init__(self, rows: Sequence[Any], places: "Sequence[int] | NDArray[np.int64]") -> None:
        self._rows, self._places = rows, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return ChosenRows(self._rows, self._places[place])
        return self._rows[int(self._places[place])]

    def lengths_by(self, measures: Measures) -> NDArray[np.int32]:
        """Those of the chosen ones."""
        return np.asarray(lengths_of(self._rows, measures), np.int32)[np.asarray(self._places, np.int64)]


class _Field:
    """Numbers end to end. As long as all are the same they take no room: nearly every mask of a text holds ones."""

    def __init__(self) -> None:
        self._count, self._same = 0, np.zeros(0, np.int32)
        self._written: bytearray | None = None
        self._file: NamelessFile | None = None

    def __getstate__(self) -> dict[str, Any]:
        """To another process go the numbers themselves, for a file without a name is nowhere else."""
        whole = self._written
        if self._file:
            whole = self._file.read(self._file.size, 0)
        return {"_count": self._count, "_same": self._same, "_written": whole, "_file": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._written is not None and len(self._written) > MOST_BYTES:
            self._write()

    def add(self, numbers: Numbers) -> None:
        if self._written is None:
            together = np.concatenate([self._same, numbers])
            if (together == together[0]).all():
                self._same, self._count = together[:1], self._count + len(numbers)
                return
            self._written = bytearray(np.repeat(self._same, self._count).tobytes())
        self._written += np.ascontiguousarray(numbers, np.int32).tobytes()
        if self._file or len(self._written) > MOST_BYTES:
            self._write()

    def finish(self) -> None:
        """Nothing is added any more."""
        if self._file:
            self._write()

    def read(self, start: int, count: int) -> Numbers:
        if self._written is None:
            return cast("Numbers", np.repeat(self._same, count))
        if self._file is None:
            return cast("Numbers", np.frombuffer(self._written, np.int32, count, start * ITEM_BYTES))
        return cast("Numbers", np.frombuffer(self._file.read(count * ITEM_BYTES, start * ITEM_BYTES), np.int32))

    def _write(self) -> None:
        if self._file is None:
            self._file = NamelessFile()
        self._file.append(self._written or b"")
        self._written = bytearray()
