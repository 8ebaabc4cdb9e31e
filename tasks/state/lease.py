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

from graftline.errors import GraftlineError
from graftline.tasks.state.room import BusyError, Room
from graftline.tasks.stopping import look

LEASE_SECONDS, SURE_SECONDS, RENEW_SECONDS = 60.0, 20.0, 5.0
POLL_SECONDS = 0.5
SUFFIX = ".lock"

logger = logging.getLogger("graftline.state")


class Lease:
    """A lock that this process has as long as it says so in time."""

    def __init__(self, room: Room, name: str) -> None:
        self._room, self._name = room, name
        self._holder = {"holder": uuid4().hex, "who": f"{os.getuid()}@{platform.node()}", "process": own_process()}
        self._mark = ""
        self._beat, self._said = 0, 0.0
        self._lost, self._ended = False, threading.Event()

    def is_sure(self) -> bool:
        return not self._lost and clock() - self._said < SURE_SECONDS

    def take(self, over: str | None) -> bool:
        """Take it, free as it is or from whoever left the mark `over`. Returns: whether nobody else was faster."""
        began, content = clock(), self._content()
        if over is None:
            taken = self._room.write_once(self._name, content)
        else:
            taken = self._room.replace(self._name, content, known=over)
        # A server that lost its answer may have written all the same.
        if (kept := self._room.read(self._name)) is None or kept.content != content:
            return False
        self._mark, self._said = kept.mark, began
        return taken or kept.content == content

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
        began, content = clock(), self._content()
        self._room.replace(self._name, content, known=self._mark)
        kept = self._room.read(self._name)
        if kept is None or kept.content != content:
            self._lost = True
            self._ended.set()
            return
        self._mark, self._said = kept.mark, began

    def _content(self) -> bytes:
        self._beat += 1
        return json.dumps({**self._holder, "beat": self._beat}).encode()


@contextmanager
def leased(room: Room, name: str, seconds: float) -> Iterator[Lease]:
    """Have the lease of a name. Raises: BusyError if another one has it for so many seconds."""
    lease = Lease(room, f"{name}{SUFFIX}")
    _wait(room, lease, f"{name}{SUFFIX}", seconds)
    keeper = threading.Thread(target=lease.keep, name=f"lease of {name}", daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        lease.end()
        keeper.join()
        lease.give_back()


def _wait(room: Room, lease: Lease, name: str, seconds: float) -> None:
    began = seen_since = clock()
    seen: str | None = None
    while True:
        kept = room.read(name)
        mark = kept.mark if kept else None
        if mark != seen:
            seen, seen_since = mark, clock()
        if (kept is None or _may_be_taken(kept.content, clock() - seen_since)) and lease.take(mark):
            return
        if clock() - began >= seconds:
            raise BusyError(name)
        look()
        time.sleep(POLL_SECONDS)


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
    return pid.isdecimal() and _started(int(pid)) != process.get("started")


def _machine() -> dict[str, str]:
    """A boot of a machine, and which processes can be seen in it: a container sees its own."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return {"boot": boot, "processes": str(Path("/proc/self/ns/pid").readlink())}


def _started(pid: int) -> str | None:
    """When a process began, in ticks since the boot; None where there is none, or it only waits to be buried."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in ("Z", "X") else fields[18]


def clock() -> float:
    """Seconds that also pass while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
