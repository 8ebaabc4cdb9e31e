"""What a signal does to work that goes on, wherever it arrives."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest

from graftline.errors import Stopped
from graftline.tasks import stopping
from graftline.tasks.progress import Wait
from graftline.tasks.stopping import asked, look, looking, stoppable


class CollectedWhileSignalled:
    """A piece of garbage whose collection a signal interrupts: what a handler raises then, Python throws away."""

    def __init__(self, number: int) -> None:
        self.number, self.me = number, self

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """Whatever a shell starts in the background ignores it, and stays so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 0.2)


def stopped(work: Callable[[], object], *, careful: bool = False) -> Stopped:
    """How work ends that a signal reaches, which may be work that looks by itself."""
    with pytest.raises(Stopped) as caught, stoppable(), looking() if careful else nullcontext():
        work()
    return caught.value


def signalled(*numbers: int) -> None:
    for number in numbers:
        signal.raise_signal(number)


def busy_after(number: int) -> None:
    signal.raise_signal(number)
    time.sleep(30)


def signalled_while_garbage_is_collected(number: int) -> None:
    CollectedWhileSignalled(number)
    gc.collect()
    time.sleep(30)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("impatient")
def test_a_signal_that_arrives_while_garbage_is_collected_stops_the_work_all_the_same(number: int) -> None:
    assert stopped(lambda: signalled_while_garbage_is_collected(number)).exit_code == 128 + number


def test_work_that_looks_is_stopped_where_it_looks_and_nowhere_else() -> None:
    done = []

    def work() -> None:
        signalled(signal.SIGTERM)
        done.append("what was half done")
        Wait("rows").tell(1, 2)
        done.append("more")

    stopped(work, careful=True)
    assert done == ["what was half done"]


@pytest.mark.usefixtures("impatient")
def test_work_that_forgets_to_look_is_stopped_after_a_while() -> None:
    stopped(lambda: busy_after(signal.SIGTERM), careful=True)


def test_ctrl_c_pressed_twice_waits_for_no_look() -> None:
    stopped(lambda: signalled(signal.SIGINT, signal.SIGINT), careful=True)


@pytest.mark.usefixtures("impatient")
def test_clearing_up_is_not_interrupted() -> None:
    cleared = []

    def work() -> None:
        signalled(signal.SIGTERM)
        try:
            look()
        finally:
            time.sleep(0.6)
            cleared.append("all")

    stopped(work, careful=True)
    assert cleared == ["all"]


def test_the_handlers_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    stopped(lambda: signalled(signal.SIGTERM))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert asked() is None


def test_a_signal_that_the_process_was_started_to_ignore_is_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable():
            signal.raise_signal(signal.SIGINT)
            assert asked() is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_computation_that_never_lets_python_run_ends_with_last_words() -> None:
    code = """
        import ctypes, graftline.tasks.stopping as stopping
        stopping.PATIENCE_SECONDS, stopping.END_SECONDS = 0.2, 0.4
        with stopping.stoppable(lambda stopped: print("stopped", stopped.number, flush=True)), stopping.looking():
            print("begun", flush=True)
            while True:
                try:
                    ctypes.CDLL(None).sleep(30)
                except BaseException:
                    pass
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.stdout.read() == "stopped 15\n"
    assert process.returncode == 143


def test_the_signal_that_ends_a_forked_child_is_not_for_its_parent() -> None:
    with stoppable():
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(tell, b"x")
            time.sleep(30)
            os._exit(0)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        time.sleep(0.2)
        assert asked() is None
