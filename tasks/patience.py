"""Servers that are away: a run that has begun waits for them, anything else says so at once."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from graftline.errors import ServerAwayError
from graftline.tasks.progress import MINUTE, duration
from graftline.tasks.stopping import look

SAY_SECONDS = 60.0
POLL_SECONDS = 2.0
# A server that says that it lives and yet loses so many requests in a row is not away.
LOST_REQUESTS = 3
# The errors of libraries that mean: no connection, or one that broke. By name, so that none of them is imported.
LOST = {
    "httpx": {"TransportError"},
    "requests": {"ConnectionError", "Timeout", "ChunkedEncodingError"},
    "urllib3": {"TimeoutError", "ProtocolError", "NewConnectionError", "MaxRetryError"},
}

P = ParamSpec("P")
Value = TypeVar("Value")

logger = logging.getLogger("graftline.patience")
_minutes: ContextVar[float] = ContextVar("minutes to wait for servers", default=0.0)


@dataclass(frozen=True)
class Server:
    """A server that a run needs."""

    name: str
    setting: str
    """The environment variable that names it, with its address."""
    otherwise: str
    """What there is without it."""
    fault: Callable[[], str | None]
    """Why it does not answer; None where it does."""


@contextmanager
def patient(minutes: float) -> Iterator[None]:
    """Wait so long in the block for each server that is away."""
    token = _minutes.set(minutes)
    try:
        yield
    finally:
        _minutes.reset(token)


def until_there(server: Server) -> None:
    """Wait until the server answers, and say so every minute.

    Raises: ServerAwayError if it does not within the patience of the block; Stopped if someone asked to stop.
    """
    if (fault := server.fault()) is None:
        return
    began = said = time.monotonic()
    patience = _minutes.get() * MINUTE
    if patience:
        logger.warning("%s", f"{_away(server, fault)}; waiting for it, for {duration(patience)} at most")
    while fault is not None:
        look()
        waited = time.monotonic() - began
        if waited >= patience:
            raise ServerAwayError(f"{_away(server, fault)}{_advice(server, waited)}")
        if time.monotonic() - said >= SAY_SECONDS:
            said = time.monotonic()
            logger.info("waiting for %s: %s so far", server.name, duration(waited))
        time.sleep(min(POLL_SECONDS, patience - waited))
        fault = server.fault()
    logger.info("%s answers again after %s; the run goes on", server.name, duration(time.monotonic() - began))


def patiently(server: Server, ask: Callable[[], Value]) -> Value:
    """The answer of a server, asked again when it is back, if it was away.

    For what may be asked twice: a request whose answer was lost may have had its effect.
    Raises: what `until_there` raises.
    """
    lost = 0
    while True:
        until_there(server)
        try:
            return ask()
        except ServerAwayError:
            raise
        except Exception as error:  # whatever a library, or a process that we asked, makes of a lost connection
            if server.fault() is None:
                lost += 1
                if not is_lost_connection(error) or lost >= LOST_REQUESTS:
                    raise
        look()


def is_lost_connection(error: BaseException) -> bool:
    """Whether it comes from a request that did not reach a server, or whose answer did not come back."""
    return any(_is_lost(one) for one in chain_of(error))


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it comes from."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return any(made.__name__ in LOST.get(made.__module__.partition(".")[0], ()) for made in type(error).__mro__)


def _away(server: Server, fault: str) -> str:
    return f"{server.setting}: no {server.name} server answers there ({fault})"


def _advice(server: Server, waited: float) -> str:
    if waited >= 1:
        return (
            f", for {duration(waited)}; start it and then the same again, which goes on where it stopped, or wait"
            " longer with registry.wait_for_servers"
        )
    return f"; start it with `graftline up`, or unset the variable {server.otherwise}"
