"""`graftline serve`: a registered model's answers over HTTP, from the version that an alias names at the moment."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import uvicorn
from pydantic import JsonValue

from graftline.errors import GraftlineError, SettingsError
from graftline.flows.console import plain_progress
from graftline.flows.servers.live_versions import Source, Versions
from graftline.flows.servers.services import StopRequested, StopSignal, stop_signal
from graftline.settings.serving import KEPT, SERVING, Serving, read_serving
from graftline.tasks.registry.manifest import as_judged, judged_files
from graftline.tasks.registry.versions import CHAMPION, get_version, open_model, with_alias
from graftline.tasks.serving.access import guarded, read_token, require_token_beyond_loopback
from graftline.tasks.serving.connections import limited_connections
from graftline.tasks.serving.counting import Counts
from graftline.tasks.serving.front import Front
from graftline.tasks.serving.request_log import RequestLog, served_folder
from graftline.tasks.tracking.server import tracking_uri
from graftline.tasks.tracking.stored_model import stored_model
from graftline.tasks.workspace import Workspace

WATCH_SECONDS = 0.2
# After the last request a process needs a moment to end; one that is in the middle of a download ends with us.
END_SECONDS = 20

logger = logging.getLogger("graftline.serving")


@plain_progress()
def serve(
    root: Path,
    model: str,
    *,
    version: int | None,
    alias: str | None,
    host: str,
    port: int,
    say: Callable[[str], None],
) -> dict[str, JsonValue]:
    """Answer until Ctrl-C or SIGTERM; then finish what has begun, write the log and return. `say` the address.

    Raises: SettingsError for wrong arguments or a port that is taken; RegistryRefusedError if there is no such version,
    its files are not those that were judged, or it does not answer; GraftlineError if the server ends by itself.
    """
    if version is not None and alias is not None:
        raise SettingsError("--version and --alias exclude each other; name one of them")
    settings, token = read_serving(root / SERVING), read_token()
    require_token_beyond_loopback(host, token)
    workspace, began = Workspace(root), time.monotonic()
    with _bound(host, port) as listening, stop_signal() as stop:
        open_model(workspace, model)
        counts = Counts()
        log = RequestLog(served_folder(workspace, model), settings.log, wrote=counts.logged.inc, lost=counts.lost.inc)
        front = Front(settings, log, counts)
        source = _source(workspace, model, version, alias or CHAMPION)
        keep_vectors = KEPT.index(settings.log.keeps) >= KEPT.index("features")
        versions = Versions(root, source, front, keep_vectors=keep_vectors)
        server = _Server(front, settings, token, listening, versions)
        try:
            _run(server, versions, stop, partial(_say_address, listening, model, token is not None, say))
        finally:
            versions.end_following()
            server.end()
            log.close()
            versions.release()
            if versions.ident is not None:
                versions.join(END_SECONDS)
    seconds = round(time.monotonic() - began, 1)
    return {
        "model": model, "versions": list(versions.served), "rows": {"answered": front.answered, "logged": log.logged,
        "lost": log.lost}, "seconds": seconds,
        "summary": f"served {front.answered:,} rows in {seconds} s, {log.logged:,} of them logged in"
        f" {served_folder(workspace, model)}",
    }  # fmt: skip


def _run(server: "_Server", versions: Versions, stop: StopSignal, say_address: Callable[[int], None]) -> None:
    """Start, and wait until somebody asks to stop."""
    try:
        server.start()
        versions.start()
        while not versions.begun.done():
            stop.pause(WATCH_SECONDS)
        say_address(versions.begun.result())
        while True:
            stop.pause(WATCH_SECONDS)
            server.require_alive()
            if not versions.is_alive():
                raise GraftlineError("serve: what follows the alias ended by itself; see above and start again")
    except StopRequested:
        logger.info("stopping: what has begun is finished")


class _Server(threading.Thread):
    """Uvicorn in a thread of its own, where it leaves the signals alone. It listens once the first version answers."""

    def __init__(
        self, front: Front, settings: Serving, token: bytes | None, listening: socket.socket, versions: Versions
    ) -> None:
        super().__init__(name="server", daemon=True)
        self._front, self._listening, self._versions = front, listening, versions
        self._failure: Future[None] = Future()
        self._ready, self._ending = threading.Event(), threading.Event()
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                guarded(front.app(), token=token, hosts=settings.hosts),
                http=limited_connections(settings.limits.requests, settings.limits.seconds),
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=round(settings.limits.seconds) + 1,
            )
        )

    def start(self) -> None:
        super().start()
        self._ready.wait()

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - whatever it was, for the main thread
            self._failure.set_exception(error)
        else:
            self._failure.set_result(None)

    def end(self) -> None:
        """Take no more, finish what has begun."""
        if self.ident is not None:
            self._ending.set()
            self._uvicorn.should_exit = True
            self.join()

    def require_alive(self) -> None:
        if not self.is_alive():
            said = self._failure.exception()
            raise GraftlineError(f"serve: the server ended by itself ({said!r}); start it again")

    async def _serve(self) -> None:
        self._versions.loop = asyncio.get_running_loop()
        self._ready.set()
        answering = asyncio.create_task(self._front.batches.run())
        while not (self._versions.begun.done() or self._ending.is_set()):
            await asyncio.sleep(WATCH_SECONDS)
        if not self._ending.is_set() and self._versions.begun.exception() is None:
            await self._uvicorn.serve(sockets=[self._listening])
        answering.cancel()


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at the address. Raises: SettingsError if there can be none."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise SettingsError(f"--host {host} --port {port}: no such address ({error}); name another") from None
    with bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except (OSError, OverflowError) as error:
            raise SettingsError(
                f"port {port} of {host} cannot be used ({error}); end the program that listens there or name a free"
                " port with --port"
            ) from None
        yield bound


def _say_address(
    listening: socket.socket, model: str, needs_token: bool, say: Callable[[str], None], number: int
) -> None:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    token = ", for who says the token" if needs_token else ""
    say(f"{model} version {number} answers at http://{shown}:{port}/invocations{token}\nCtrl-C stops it.")


def _source(workspace: Workspace, model: str, version: int | None, alias: str) -> Source:
    def wanted() -> int | None:
        if version is not None:
            return version
        stored = stored_model(tracking_uri(workspace), model)
        return stored.aliases.get(alias) if stored is not None else with_alias(model, alias)

    @contextmanager
    def opened(number: int) -> Iterator[Path]:
        get_version(model, number)  # which says in a sentence that there is none
        if judged_files(workspace, model, number) is None:
            logger.warning(
                "%s version %d: has no record of a verdict; its files are compared with nothing", model, number
            )
        with as_judged(workspace, model, number) as folder:
            yield folder

    return Source(model, wanted, opened, lambda number: get_version(model, number).run_id or "")
