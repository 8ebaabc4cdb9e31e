"""What a folder and a bucket have in common."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol


class Kept(NamedTuple):
    """A file as it lay there."""

    content: bytes
    mark: str
    """By which `replace` knows whether it is still the same; it says nothing else."""


class Lying(NamedTuple):
    """A file that nobody has read."""

    size_bytes: int
    age_seconds: float
    """For how long it has lain there, by the clock of whoever keeps it."""


class NoPlainFileError(OSError):
    """What lies there is a link or no file: it may be changed elsewhere, or belong to somebody else."""


class BusyError(Exception):
    """Somebody else has held the lock for as long as was waited."""


class Held(Protocol):
    """A lock that this process has."""

    def is_sure(self) -> bool:
        """Whether nobody else can have it, now and for the seconds that a request takes.

        False in a process that was paused for so long that another one may have taken it over.
        """
        ...


class Reader(Protocol):
    """Files to be read by name."""

    def read(self, name: str) -> Kept | None:
        """A file of a few kilobytes, None where there is none. Raises: NoPlainFileError."""
        ...


class Room(Protocol):
    """Files by name; a name holds no slash and does not begin with a dot.

    A file is there as a whole or not at all, also after a kill, and what was written is durable.
    """

    def where(self, name: str) -> str:
        """The place of a file, in a sentence."""
        ...

    def read(self, name: str) -> Kept | None:
        """A file of a few kilobytes, None where there is none. Raises: NoPlainFileError."""
        ...

    def read_ahead(self, names: Sequence[str]) -> "Reader":
        """The same files, each read by now where reading them one by one would take long."""
        ...

    def write_once(self, name: str, content: bytes) -> bool:
        """Write a new file; of several writers only one can. Returns: whether it was this one."""
        ...

    def replace(self, name: str, content: bytes, *, known: str | None = None) -> bool:
        """Write a file anew. Returns: False, and writes nothing, if it is not the one of the mark `known` any more."""
        ...

    def upload(self, name: str, path: Path) -> None:
        """Bring a file of any size, whatever lies there under its name."""
        ...

    def download(self, name: str, path: Path) -> bool:
        """Write a file of any size to `path`, which a kill may leave incomplete. Returns: whether there is one."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def names(self) -> list[str]:
        """Those of all files, sorted."""
        ...

    def age(self, name: str) -> float | None:
        """For how many seconds a file has lain there, by the clock of whoever keeps it; None where there is none."""
        ...

    def lying(self) -> dict[str, "Lying"]:
        """All files, by name."""
        ...

    def rooms(self) -> list[str]:
        """The names of the rooms in it that hold files, sorted."""
        ...

    def alone(self, name: str, seconds: float) -> AbstractContextManager[Held]:
        """Keep others who ask for the lock of this name out of the block. Waits for them.

        Raises: BusyError if one of them does not end within so many seconds.
        """
        ...

    def has_drafts(self) -> bool:
        """Whether a killed writer left something."""
        ...

    def remove_drafts(self) -> None:
        """Remove what killed writers left. Only while no one else writes."""
        ...
