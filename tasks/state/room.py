"""What a folder and a bucket have in common."""

from typing import NamedTuple, Protocol


class Kept(NamedTuple):
    """A file as it lay there."""

    content: bytes
    mark: str
    """By which `replace` knows whether it is still the same; it says nothing else."""


class NoPlainFileError(OSError):
    """What lies there is a link or no file: it may be changed elsewhere, or belong to somebody else."""


class Room(Protocol):
    """Files by name, each a few kilobytes; a name holds no slash and does not begin with a dot.

    A file is there as a whole or not at all, also after a kill, and what was written is durable.
    """

    def read(self, name: str) -> Kept | None:
        """None where there is none. Raises: NoPlainFileError."""
        ...

    def write_once(self, name: str, content: bytes) -> bool:
        """Write a new file; of several writers only one can. Returns: whether it was this one."""
        ...

    def replace(self, name: str, content: bytes, *, known: str | None = None) -> bool:
        """Write a file anew. Returns: False, and writes nothing, if it is not the one of the mark `known` any more."""
        ...

    def names(self) -> list[str]:
        """Those of all files, sorted."""
        ...
