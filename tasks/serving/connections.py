"""The connections of a server: no more than so many, and none that waits for a request that never comes."""

import asyncio
from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from asyncio import Transport

# Beside the requests that may be there at once: those that are told to come again, and those that stay open between
# two requests.
SPARE = 256


def limited_connections(most_requests: int, seconds: float) -> type[H11Protocol]:
    """What speaks HTTP/1.1 on each connection, for uvicorn.

    One beyond the limit is closed, and one on which the head of a request does not come whole in so many seconds: each
    takes a file descriptor, whoever holds it, and has not said a token yet. The head itself may have 64 KiB.
    """

    class LimitedConnection(H11Protocol):
        _giving_up: asyncio.TimerHandle | None = None

        def connection_made(self, transport: "Transport") -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most_requests + SPARE:
                transport.abort()
                return
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if not self._is_between_requests():
                self._stop_waiting()
            elif self._giving_up is None:
                self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _is_between_requests(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _wait_for_head(self) -> None:
            self._giving_up = self.loop.call_later(seconds, self._give_up)

        def _stop_waiting(self) -> None:
            if self._giving_up is not None:
                self._giving_up.cancel()
                self._giving_up = None

        def _give_up(self) -> None:
            self._giving_up = None
            if self._is_between_requests():
                self.transport.abort()

    return LimitedConnection
