"""A lock among machines, in a room whose files are replaced only by whoever knows what lies there.

Whoever has it says so again every few seconds. It is taken over when that has not changed for `LEASE_SECONDS` on the
clock of the one who waits, so that no two clocks are ever compared; or at once where its process is known to be gone.
The holder in turn trusts it for `SURE_SECONDS` after it last said so, by a clock that goes on while a machine sleeps.
What lies between the two is the time that a request of the holder may still be on its way.
"""

import json
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from graftline.errors import GraftlineError, ServerAwayError
from graftline.tasks.state.room import BusyError, Kept, Reader, Room
from graftline.tasks.stopping import look

LEASE_SECONDS, SURE_SECONDS, RENEW_SECONDS = 60.0, 20.0, 5.0
POLL_SECONDS = 0.5
# A shorter wait needs no word.
SAY_AFTER_SECONDS = 5.0
# A server that says that it lives and yet loses so many requests for the lease has it not.
LOST_REQUESTS = 3
SUFFIX = ".lock"

logger = logging.getLogger("graftline.state")


class Lease:
    """A lock that this process has as long as it says so in time."""

    def __init__(self, room: Room, name: str) -> None:
        self._room, self._name = room, name
        self._holder = {"holder": uuid4().hex, "who": f"{os.getuid()}@{platform.node()}", "process": own_process()}
        self._mark = ""
        self._beat, self._said = 0, 0.0
        self._sent = dict[bytes, float]()
        """When what was sent, as far back as it may still arrive."""
        self._lost, self._ended = False, threading.Event()

    def is_sure(self) -> bool:
        return not self._lost and clock() - self._said < SURE_SECONDS

    def take(self, over: str | None) -> None:
        """Ask for it, free as it is or left by whoever has the mark `over`. `finds` tells whether nobody was faster."""
        content = self._content()
        if over is None:
            self._room.write_once(self._name, content)
        else:
            self._room.replace(self._name, content, known=over)

    def finds(self, kept: Kept | None) -> bool:
        """Whether what lies there is of this holder, and from when; also if the answer to its writing was lost."""
        began = self._sent.get(kept.content) if kept else None
        if kept is None or began is None:
            return False
        self._mark, self._said = kept.mark, began
        self._sent = {content: at for content, at in self._sent.items() if at >= began}
        return True

    def keep(self) -> None:
        """Say it again and again until `end`; to be run in a thread."""
        while not self._ended.wait(RENEW_SECONDS):
            try:
                self._renew()
            except GraftlineError as error:  # the server may be back before the lease has run out
                logger.debug("%s: %s", self._room.where(self._name), error)

    def end(self) -> None:
        """Stop saying it."""
        self._ended.set()

    def give_back(self) -> None:
        """Let the next one have it at once. One that was lost is somebody else's by now."""
        try:
            self._room.replace(self._name, json.dumps({"free": self._holder["holder"]}).encode(), known=self._mark)
        except GraftlineError as error:
            logger.debug("%s: %s", self._room.where(self._name), error)

    def _renew(self) -> None:
        self._room.replace(self._name, self._content(), known=self._mark)
        if not self.finds(self._room.read(self._name)):
            self._lost = True
            self._ended.set()

    def _content(self) -> bytes:
        self._beat += 1
        content = json.dumps({**self._holder, "beat": self._beat}).encode()
        self._sent[content] = clock()
        return content


@contextmanager
def leased(room: Room, name: str, seconds: float, *, looks: Reader | None = None) -> Iterator[Lease]:
    """Have the lease of a name; who waits for it `looks` as one that waits for a server, too.

    Raises: BusyError if another one has it for so many seconds.
    """
    lease = Lease(room, f"{name}{SUFFIX}")
    _wait(looks or room, lease, f"{name}{SUFFIX}", seconds)
    keeper = threading.Thread(target=lease.keep, name=f"lease of {name}", daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        lease.end()
        keeper.join()
        lease.give_back()


def _wait(looks: Reader, lease: Lease, name: str, seconds: float) -> None:
    began = seen_since = clock()
    seen: str | None = None
    lost, is_said = 0, False
    while True:
        kept = looks.read(name)
        if lease.finds(kept):
            return
        if kept is not None and not is_said and clock() - began > SAY_AFTER_SECONDS:
            logger.info("waiting for %s, as long as it does not fall silent for %.0f s", _who(kept), LEASE_SECONDS)
            is_said = True
        mark = kept.mark if kept else None
        if mark != seen:
            seen, seen_since = mark, clock()
        if kept is None or _may_be_taken(kept.content, clock() - seen_since):
            try:
                lease.take(mark)
            except ServerAwayError:  # what was asked for may have been written all the same: the next look tells
                lost += 1
                if lost > LOST_REQUESTS:
                    raise
            if lease.finds(looks.read(name)):
                return
        if clock() - began >= seconds:
            raise BusyError(name)
        look()
        time.sleep(POLL_SECONDS)


def _who(kept: Kept) -> str:
    """Who has it, as far as that can be read."""
    try:
        return f"another run, of {json.loads(kept.content)['who']}"
    except (ValueError, LookupError, TypeError):
        return "another run"


def _may_be_taken(content: bytes, unchanged_seconds: float) -> bool:
    if unchanged_seconds >= LEASE_SECONDS:
        return True
    try:
        values = json.loads(content)
    except ValueError:
        return False
    return isinstance(values, dict) and ("free" in values or is_gone(values.get("process")))


def own_process() -> dict[str, str]:
    """What tells this process from all others, on this machine and elsewhere."""
    return {**_machine(), "pid": str(os.getpid()), "started": _started(os.getpid()) or ""}


def is_gone(process: object) -> bool:
    """Whether a process of this machine is there no more; False where that cannot be known."""
    if not isinstance(process, dict) or any(process.get(name) != value for name, value in _machine().items()):
        return False
    pid = str(process.get("pid"))
    started = _started(int(pid)) if pid.isdecimal() else None
    return started is not None and started != process.get("started")


def _machine() -> dict[str, str]:
    """A boot of a machine, and which processes can be seen in it: a container sees its own."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return {"boot": boot, "processes": str(Path("/proc/self/ns/pid").readlink())}


def _started(pid: int) -> str | None:
    """When a process began, in ticks since the boot; "" where there is none, or it only waits to be buried.

    None where this machine does not show it: with `hidepid` it hides the processes of other users.
    """
    try:
        state, *fields = _stat(pid).rpartition(")")[2].split()
    except OSError:
        return None if _is_there(pid) else ""
    return "" if state in ("Z", "X") else fields[18]


def _stat(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def clock() -> float:
    """Seconds that also pass while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
