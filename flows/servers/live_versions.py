"""Which version of a model answers: it follows an alias, and takes over only when it has shown that it can answer."""

import asyncio
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from graftline.errors import GraftlineError, RegistryRefusedError
from graftline.flows.servers.services import Service, service
from graftline.tasks.serving.access import TOKEN, TOKEN_FILE
from graftline.tasks.serving.batching import LANES
from graftline.tasks.serving.front import Front
from graftline.tasks.serving.live_version import LiveVersion, checked, command_of, is_up

POLL_SECONDS = 2.0
# Importing PyTorch on a cold disk, and a model of gigabytes.
START_SECONDS = 600
WATCH_SECONDS = 0.1
# A version that did not start is tried again after so long: somebody may have put its files right.
REFUSED_SECONDS = 30
# A socket's path may have about a hundred characters, which a project's folder may exceed.
SOCKET = "version"

logger = logging.getLogger("graftline.serving")


@dataclass(frozen=True)
class Source:
    """Where versions come from."""

    model: str
    wanted: Callable[[], int | None]
    """The version that should answer now; None where nothing says so."""
    opened: Callable[[int], AbstractContextManager[Path]]
    """Its files, compared with the record of its verdict."""
    run_of: Callable[[int], str]
    """The run of MLflow that made it."""


class EndedError(Exception):
    """The server is to end."""


@dataclass(eq=False)
class _Running:
    live: LiveVersion
    service: Service
    stack: ExitStack


class Versions(threading.Thread):
    """Starts the first version, then follows. Files, registry and processes may take long, so in a thread of its own.

    What the kernel, MLflow and libraries hold for a thread is taken and given back by this one.
    """

    def __init__(self, root: Path, source: Source, front: Front, *, keep_vectors: bool) -> None:
        super().__init__(name="versions", daemon=True)
        self.begun: Future[int] = Future()
        """The first version, once it answers; or why it does not."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """The one in which the front answers."""
        self.served: list[int] = []
        self._root, self._source, self._front, self._keep_vectors = root, source, front, keep_vectors
        self._ending, self._released = threading.Event(), threading.Event()
        self._running: _Running | None = None
        self._opened: list[_Running] = []
        self._refused: tuple[int, float] | None = None
        self._said: str | None = None

    def end_following(self) -> None:
        """Have no version take over any more. The one that answers goes on until `release`."""
        self._ending.set()

    def release(self) -> None:
        """Have the last version's process ended."""
        self._released.set()

    def run(self) -> None:
        try:
            self._begin()
            while not self._ending.wait(POLL_SECONDS):
                self._look()
        except EndedError:
            pass
        except BaseException as error:  # for whoever waits for the first version
            if self.begun.done():
                raise
            self.begun.set_exception(error)
        finally:
            if self._opened:
                self._released.wait()
            for opened in self._opened:
                opened.stack.close()

    def _begin(self) -> None:
        number = self._source.wanted()
        if number is None:
            raise RegistryRefusedError(
                f"{self._source.model}: no version carries the alias; promote one, or name one with --version"
            )
        self._take_over(self._start(number))
        self.begun.set_result(number)

    def _look(self) -> None:
        """One look at the process and at the alias. Whatever goes wrong, the version that answers goes on."""
        running = self._running
        assert running is not None
        try:
            wanted, number = self._source.wanted(), running.live.number
            if wanted is None:
                self._say(f"{self._source.model}: no version carries the alias; version {number} goes on")
            elif wanted != number and not self._was_refused(wanted):
                self._follow(wanted, running)
            elif wanted == number:
                self._said = None
            if self._running is running and not self._was_refused(number):
                self._see_to(running)
        except GraftlineError as error:
            self._say(f"{error.sentence}; version {running.live.number} goes on")
        except EndedError:
            raise
        except Exception as error:  # noqa: BLE001 - of whatever library: it must not end what answers
            self._say(f"looking for a new version: {type(error).__name__}: {error}")

    def _follow(self, wanted: int, running: _Running) -> None:
        logger.info("%s: starting version %d, version %d goes on", self._source.model, wanted, running.live.number)
        try:
            new = self._start(wanted)
        except GraftlineError as error:
            self._refused = wanted, time.monotonic()
            self._front.counts.refused.inc()
            logger.warning("refused: %s; version %d goes on", error, running.live.number)
            return
        self._front.counts.switches.inc()
        self._take_over(new)

    def _was_refused(self, wanted: int) -> bool:
        return (
            self._refused is not None
            and self._refused[0] == wanted
            and time.monotonic() - self._refused[1] < REFUSED_SECONDS
        )

    def _see_to(self, running: _Running) -> None:
        """If its process ended or hangs, the same version in a new one; its files are compared again."""
        if not running.live.broken and running.service.process.poll() is None:
            return
        running.live.broken = True
        number = running.live.number
        logger.warning("%s: the process of version %d is started again", self._source.model, number)
        self._front.counts.restarts.inc()
        self._close(running)  # two would need twice the memory, and that may be why it ended
        try:
            self._take_over(self._start(number))
        except GraftlineError:
            self._refused = number, time.monotonic()
            raise

    def _take_over(self, new: _Running) -> None:
        before, self._running = self._running, new
        self._in_loop(self._front.batches.switch(new.live))
        self.served.append(new.live.number)
        logger.info("%s: version %d answers", self._source.model, new.live.number)
        if before is not None:
            self._in_loop(self._front.batches.retire(before.live))
            self._close(before)

    def _close(self, running: _Running) -> None:
        running.stack.close()
        if running in self._opened:
            self._opened.remove(running)

    def _in_loop(self, work: Coroutine[object, object, object]) -> None:
        """Have the front's event loop do it. Raises: EndedError if the server is to end meanwhile."""
        assert self.loop is not None
        if self._ending.is_set():
            work.close()
            raise EndedError
        doing = asyncio.run_coroutine_threadsafe(work, self.loop)
        while True:
            try:
                doing.result(WATCH_SECONDS)
                return
            except TimeoutError:
                if self._ending.is_set():
                    raise EndedError from None

    def _start(self, number: int) -> _Running:
        """Raises: GraftlineError if its files differ, or it does not answer; EndedError."""
        what = f"{self._source.model} version {number}"
        with ExitStack() as stack:
            folder = stack.enter_context(self._source.opened(number))
            socket = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graftline-"))) / SOCKET
            process = stack.enter_context(self._process(what, folder, socket))
            self._wait_for(what, process, socket)
            live = checked(what, number, self._source.run_of(number), socket, folder)
            self._opened.append(_Running(live, process, stack.pop_all()))
            return self._opened[-1]
        raise AssertionError  # no context of these swallows an error

    @contextmanager
    def _process(self, what: str, folder: Path, socket: Path) -> Iterator[Service]:
        # It is asked several batches at once: together they take all cores, and none waits for another's.
        threads = max(1, len(os.sched_getaffinity(0)) // LANES)
        if (said := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
            threads = int(said)
        command = command_of(folder, socket, threads=threads, keep_vectors=self._keep_vectors)
        log = self._root / ".graftline" / "logs" / f"serve_{what.replace(' ', '_')}.log"
        with service(what, command, folder=self._root, environment=_environment(), log=log) as started:
            yield started

    def _wait_for(self, what: str, process: Service, socket: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not (socket.exists() and is_up(socket)):
            if (code := process.process.poll()) is not None:
                raise RegistryRefusedError(
                    f"{what}: its process ended with {code} before it answered; see {process.log}"
                )
            if time.monotonic() > deadline:
                raise RegistryRefusedError(f"{what}: no answer within {START_SECONDS} s; see {process.log}")
            if self._ending.wait(WATCH_SECONDS):
                raise EndedError

    def _say(self, sentence: str) -> None:
        """A warning, unless it was the last one."""
        if sentence != self._said:
            self._said = sentence
            logger.warning("%s", sentence)


def _environment() -> dict[str, str]:
    """Of a version's process: without the token, and without MLflow's own limit of time beside ours."""
    kept = {name: value for name, value in os.environ.items() if name not in (TOKEN, TOKEN_FILE)}
    return kept | {"MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "86400"}
