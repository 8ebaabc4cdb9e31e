"""Programs that run beside us: each in a process group of its own, watched, and ended whole."""

import os
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from graftline.errors import GraftlineError
from graftline.tasks.children import ending_with_us
from graftline.tasks.tracking.addresses import as_basic

POLL_SECONDS = 0.2
PAGE_TIMEOUT_SECONDS = 5
# A worker needs some seconds to tell the server how its flow run ended.
GRACE_SECONDS = 15
# Before a program is started again; one that cannot start would be started all the time.
AGAIN_SECONDS = 5
# Nothing survives SIGKILL; this bounds the wait for an init process that is slow to collect its dead.
KILL_SECONDS = 5


class _Rights(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """Whose rights a program is started with."""

    user: int
    group: int


class StopRequested(Exception):  # noqa: N818 - not an error: someone asked us to stop
    """Ctrl-C or a signal asked this process to stop."""


@dataclass(frozen=True)
class Service:
    """A running program and the file that holds what it said."""

    title: str
    process: subprocess.Popen[bytes]
    log: Path


class StopSignal:
    """Whether someone asked to stop. Asking never interrupts a step half-way: it is noticed at the next `pause`."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def pause(self, seconds: float) -> None:
        """Wait. Raises: StopRequested as soon as someone asks to stop."""
        if self._asked.wait(seconds):
            raise StopRequested

    def ask(self, *_: object) -> None:
        self._asked.set()


@contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Turn Ctrl-C, SIGTERM and a closed terminal into a `StopSignal` while the block runs."""
    stop = StopSignal()
    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop.ask) for number in handled}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def service(
    title: str,
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    account: Account | None = None,
) -> Iterator[Service]:
    """Start a program with its output in `log`; on leaving the block, end it and everything that it started.

    It ends as well if this process is killed. With `account` it has that one's rights.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the command is ours
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **as_account(account),
        )
    try:
        with ending_with_us(-process.pid):
            yield Service(title, process, log)
    finally:
        end_group(process)


def as_account(account: Account | None) -> _Rights:
    """The options of a process that has an account's rights, or ours."""
    return {} if account is None else {"user": account.user, "group": account.group, "extra_groups": []}


def wait_for_page(
    service: Service, address: str, stop: StopSignal, seconds: float, *, says: str = "", password: str = ""
) -> None:
    """Wait until `address` answers with `says` in it. Raises: GraftlineError if not, or the program ends before."""
    deadline = time.monotonic() + seconds
    while not _answers(address, says, password):
        require_alive([service])
        if time.monotonic() > deadline:
            raise GraftlineError(
                f"{service.title}: no answer at {address} within {seconds:.0f} s, expected its page; see {service.log}"
            )
        stop.pause(POLL_SECONDS)


def wait_for_end(service: Service, stop: StopSignal, seconds: float) -> None:
    """Wait until the program has done its work. Raises: GraftlineError if it fails or takes longer."""
    deadline = time.monotonic() + seconds
    while (code := service.process.poll()) is None:
        if time.monotonic() > deadline:
            raise GraftlineError(f"{service.title}: not done within {seconds:.0f} s; see {service.log}")
        stop.pause(POLL_SECONDS)
    if code != 0:
        raise GraftlineError(f"{service.title}: ended with exit code {code}, expected 0; see {service.log}")


def require_alive(services: Sequence[Service]) -> None:
    """Raises: GraftlineError naming the first program that has ended."""
    for service in services:
        code = service.process.poll()
        if code is not None:
            raise GraftlineError(
                f"{service.title}: ended by itself with exit code {code}, so the rest is stopped too;"
                f" see {service.log} and start again"
            )


def start_again(
    begin: Mapping[str, Callable[[], Service]], tended: dict[str, Service], stop: StopSignal, say: Callable[[str], None]
) -> None:
    """Start those again that have ended, and without which the others go on.

    Raises: StopRequested when someone says stop.
    """
    for title, program in tended.items():
        if program.process.poll() is not None:
            say(f"{title} has ended (exit code {program.process.returncode}); starting it again")
            stop.pause(AGAIN_SECONDS)
            tended[title] = begin[title]()


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the process group to end, and kill what is left of it after the grace time."""
    for number, patience_seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        if _group_ended(process, patience_seconds):
            return


def _group_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        process.poll()  # collects our own child: a dead one that nobody collected still counts as a member
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(POLL_SECONDS)
    return False


def _answers(address: str, says: str, password: str) -> bool:
    asked = urllib.request.Request(address)  # noqa: S310 - our own address
    if password:
        asked.add_header("Authorization", f"Basic {as_basic(password)}")
    try:
        with urllib.request.urlopen(asked, timeout=PAGE_TIMEOUT_SECONDS) as page:  # noqa: S310
            return says.encode() in page.read()
    except OSError:  # refused, reset, too slow, or an HTTP error
        return False
