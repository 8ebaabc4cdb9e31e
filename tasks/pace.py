"""A source that sends next to nothing, and never falls silent: a limit of throughput ends it."""

import time
from collections.abc import Callable, Iterable, Iterator

from graftline.errors import GraftlineError

# Half of what a telephone's modem brought. A base model of 90 MB would take six hours at this pace, and whoever waits
# for it does not know. As `curl --speed-limit` and git's `http.lowSpeedLimit`, over a window, for any link stalls.
LEAST_BYTES_PER_SECOND = 4_000
WINDOW_SECONDS = 60.0


class SourceUnavailableError(GraftlineError):
    """The source cannot be reached just now; the same call may succeed later. No verdict about the model."""


def at_pace(chunks: Iterable[bytes], where: str) -> Iterator[bytes]:
    """The chunks, as long as they come at some pace. Each must be handed on as it arrives, not gathered first.

    Raises: SourceUnavailableError once a whole window brought less than its share.
    """
    window = _Window(where)
    for chunk in chunks:
        window.add(len(chunk))
        yield chunk


class Pace:
    """Looks at another process that fetches.

    `moved` gives the bytes that a process has moved so far, None where that is not known: then it may take its time.
    """

    def __init__(self, where: str, moved: Callable[[int], int | None]) -> None:
        self._window, self._moved, self._before = _Window(where), moved, 0

    def look(self, process: int) -> None:
        """Raises: SourceUnavailableError once a whole window brought less than its share."""
        moved = self._moved(process)
        if moved is not None:
            self._window.add(moved - self._before)
            self._before = moved


class _Window:
    """Bytes, and since when."""

    def __init__(self, where: str) -> None:
        self._where, self._began, self._received = where, time.monotonic(), 0

    def add(self, count: int) -> None:
        self._received += count
        passed = time.monotonic() - self._began
        if passed < WINDOW_SECONDS:
            return
        if self._received < LEAST_BYTES_PER_SECOND * passed:
            raise SourceUnavailableError(
                f"{self._where}: {self._received:,} bytes came in {passed:.0f} seconds, expected at least"
                f" {LEAST_BYTES_PER_SECOND:,} a second; see what slows the source or the network down, and run again:"
                " a fetch goes on where it stopped"
            )
        self._began, self._received = time.monotonic(), 0
