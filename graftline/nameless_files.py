"""Files without a name, for what is of use as long as a process holds it: they go with it, however it ends."""

import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


class NamelessFile:
    """Bytes in the system's folder for such files (TMPDIR), instead of in memory.

    Neither read by seeking, which two threads might do at once, nor mapped, which counts as this process's memory.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open as long as the bytes are of use
        self.size = 0

    def append(self, content: "Buffer") -> int:
        """Where the content begins that now stands at the end."""
        start = self.size
        self.write(content, start)
        return start

    def write(self, content: "Buffer", start: int) -> None:
        """The content from there on; what lies between is zeros."""
        left, place = memoryview(content).cast("B"), start
        while left:
            written = os.pwrite(self._file.fileno(), left, place)
            left, place = left[written:], place + written
        self.size = max(self.size, place)

    def read(self, count: int, start: int) -> bytearray:
        """So many bytes from there on: one call of the system hands out two gigabytes at most.

        Raises: OSError if the file has fewer.
        """
        content = bytearray(count)
        left, place = memoryview(content), start
        while left:
            got = os.preadv(self._file.fileno(), [left], place)
            if not got:
                raise OSError(f"a file of rows ends after {place} bytes, expected {start + count}")
            left, place = left[got:], place + got
        return content
