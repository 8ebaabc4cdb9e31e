"""A source that sends next to nothing, and never falls silent: a limit of throughput ends it."""

import time
from collections.abc import Iterable, Iterator

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
    began, received = time.monotonic(), 0
    for chunk in chunks:
        received += len(chunk)
        passed = time.monotonic() - began
        if passed >= WINDOW_SECONDS:
            if received < LEAST_BYTES_PER_SECOND * passed:
                raise SourceUnavailableError(
                    f"{where}: {received:,} bytes came in {passed:.0f} seconds, expected at least"
                    f" {LEAST_BYTES_PER_SECOND:,} a second; see what slows the source or the network down, and run"
                    " again: a fetch goes on where it stopped"
                )
            began, received = time.monotonic(), 0
        yield chunk
