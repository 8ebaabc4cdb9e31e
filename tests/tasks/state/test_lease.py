"""A lock among machines: one has it, whoever is gone or silent loses it, and whoever was paused knows that it may."""

import json
import multiprocessing
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from graftline.errors import ServerAwayError
from graftline.tasks.patience import patient
from graftline.tasks.state import lease
from graftline.tasks.state.folder import Folder
from graftline.tasks.state.lease import Lease, leased, own_process
from graftline.tasks.state.room import BusyError, Kept, Room
from graftline.tasks.state.shared import PatientRoom

FORK = multiprocessing.get_context("fork")
NAME, OBJECT = "deciding", "deciding.lock"
LONG_SECONDS = 60.0


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """A folder does here: it replaces files as a bucket does (test_rooms.py)."""
    return Folder(tmp_path)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.02)


def left_by(room: Room, process: object) -> None:
    """What a holder leaves that says nothing any more."""
    room.replace(OBJECT, json.dumps({"holder": "x", "process": process, "beat": 7}).encode())


def elsewhere() -> dict[str, str]:
    return {**own_process(), "boot": "another"}


def test_of_many_who_want_it_one_at_a_time_has_it(room: Room) -> None:
    inside, most, lock = [0], [0], threading.Lock()

    def work(_: int) -> None:
        with leased(room, NAME, LONG_SECONDS) as held:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            assert held.is_sure()
            time.sleep(0.01)
            with lock:
                inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))
    assert most == [1]


def test_who_waits_too_long_is_told(room: Room) -> None:
    with leased(room, NAME, LONG_SECONDS), pytest.raises(BusyError), leased(room, NAME, 0.1):
        pass


def test_who_waits_long_is_told_for_whom(
    room: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("graftline.tasks.state.lease.SAY_AFTER_SECONDS", 0.1)
    with caplog.at_level("INFO"), leased(room, "x", 1), pytest.raises(BusyError), leased(room, "x", 1.5):
        pass
    (said,) = [message for message in caplog.messages if message.startswith("waiting for another run, of ")]
    assert said.endswith(f"@{platform.node()}, as long as it does not fall silent for 60 s")


def test_it_is_given_back_after_an_error_too(room: Room) -> None:
    with pytest.raises(ZeroDivisionError), leased(room, NAME, LONG_SECONDS):
        raise ZeroDivisionError
    with leased(room, NAME, 0.0) as held:
        assert held.is_sure()


def hold(folder: Path, begun: Event) -> None:
    with leased(Folder(folder), NAME, LONG_SECONDS):
        begun.set()
        time.sleep(LONG_SECONDS)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[int]:
    """A process that has it."""
    begun = FORK.Event()
    process = FORK.Process(target=hold, args=(tmp_path, begun))
    process.start()
    assert begun.wait(LONG_SECONDS)
    assert process.pid is not None
    yield process.pid
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_that_of_a_process_of_this_machine_that_was_killed_is_free_at_once(room: Room, holder: int) -> None:
    with pytest.raises(BusyError), leased(room, NAME, 0.2):
        pass
    os.kill(holder, signal.SIGKILL)
    with leased(room, NAME, 10.0) as held:
        assert held.is_sure()


@pytest.mark.parametrize("process", [elsewhere(), None, {"boot": 1}, "nonsense"])
def test_that_of_another_machine_is_taken_over_once_it_has_been_silent_for_long(
    room: Room, process: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by(room, process)
    with pytest.raises(BusyError), leased(room, NAME, 0.3):
        pass
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.3)
    with leased(room, NAME, 10.0) as held:
        assert held.is_sure()


def test_one_that_says_something_is_not_taken_over(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    with leased(room, NAME, LONG_SECONDS) as held:
        with pytest.raises(BusyError), leased(room, NAME, 1.5):
            pass
        assert held.is_sure()


def test_who_was_paused_is_not_sure_of_it(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Lease(room, OBJECT)
    held.take(None)
    assert held.finds(room.read(OBJECT))
    assert held.is_sure()
    now = lease.clock()
    monkeypatch.setattr(lease, "clock", lambda: now + lease.SURE_SECONDS)
    assert not held.is_sure()


def test_who_lost_it_knows_and_does_not_give_back_what_is_somebody_elses(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    with leased(room, NAME, LONG_SECONDS) as held:
        left_by(room, elsewhere())
        deadline = time.monotonic() + 10
        while held.is_sure() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not held.is_sure()
    assert (kept := room.read(OBJECT)) is not None
    assert json.loads(kept.content)["beat"] == 7


class LosingAnswers(Folder):
    """As a server that writes and then is gone: the answers to these numbers of writes never come."""

    def __init__(self, path: Path, lost: set[int]) -> None:
        super().__init__(path)
        object.__setattr__(self, "lost", lost)
        object.__setattr__(self, "writes", [])

    def replace(self, name: str, content: bytes, *, known: str | None = None) -> bool:
        return self._lose(super().replace(name, content, known=known))

    def write_once(self, name: str, content: bytes) -> bool:
        return self._lose(super().write_once(name, content))

    def _lose(self, written: bool) -> bool:
        self.writes.append(written)  # type: ignore[attr-defined]
        if len(self.writes) in self.lost:  # type: ignore[attr-defined]
            raise ServerAwayError("the answer was lost")
        return written


def test_who_said_so_and_got_no_answer_has_it_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.02)
    room = LosingAnswers(tmp_path, {1, 3, 4, 7})
    with leased(room, NAME, LONG_SECONDS) as held:
        deadline = time.monotonic() + 10
        while len(room.writes) < 10 and time.monotonic() < deadline:  # type: ignore[attr-defined]
            time.sleep(0.02)
        assert held.is_sure()
    with leased(room, NAME, 0.0) as held:  # it was given back
        assert held.is_sure()


def test_a_server_that_takes_no_lease_is_told(tmp_path: Path) -> None:
    class Refusing(Folder):
        def write_once(self, name: str, content: bytes) -> bool:
            raise ServerAwayError(f"nothing is written as {name}, {len(content)} bytes")

    with pytest.raises(ServerAwayError, match="nothing is written"), leased(Refusing(tmp_path), NAME, LONG_SECONDS):
        pass


def test_a_run_that_waits_for_it_waits_for_the_server_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = iter([False, False, True, False, True, True, False])
    monkeypatch.setattr("graftline.tasks.patience.POLL_SECONDS", 0.01)

    class Restarting(Folder):
        def read(self, name: str) -> Kept | None:
            if next(away, False):
                raise ServerAwayError("does not answer")
            return super().read(name)

    room = PatientRoom(Restarting(tmp_path), Restarting(tmp_path / "top"))
    left_by(room, elsewhere())
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.3)
    with patient(1), room.alone(NAME, LONG_SECONDS) as held:
        assert held.is_sure()
    assert list(away) == []


def test_a_process_that_this_machine_hides_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = FORK.Process(target=int)
    ended.start()
    ended.join()

    def hidden(pid: int) -> str:
        raise FileNotFoundError(pid)

    here = own_process()
    monkeypatch.setattr(lease, "_stat", hidden)
    assert not lease.is_gone(here)
    assert lease.is_gone({**here, "pid": str(ended.pid)})


def test_a_holder_trusts_it_for_less_long_than_others_wait() -> None:
    assert lease.SURE_SECONDS + 2 * lease.RENEW_SECONDS < lease.LEASE_SECONDS
