"""A signal that asks to stop raises a flag; the run stops where it next looks, and in the end in any case.

An exception that a signal handler raises is lost where Python happens to collect garbage, for it lets none out of a
destructor. So nothing depends on one that is raised once.
"""

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from graftline.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# So long nobody may have looked: then the work is stopped wherever it is, again and again until that has an effect. A
# step of a training takes less, so that its checkpoint is written first; Docker kills after ten seconds.
PATIENCE_SECONDS = 5.0
# Then the process ends, whatever computes in it, as by a kill. Most schedulers kill after thirty.
END_SECONDS = 25.0


class _Request:
    """What was asked of this process, and how it goes about it."""

    def __init__(self) -> None:
        self.watched = False
        self.looking = 0
        """How many blocks go on that look by themselves."""
        self.forget()

    def forget(self) -> None:
        self.number: int | None = None
        self.at = 0.0
        self.heard = False
        """Whether the work has begun to end: then nothing may interrupt its clearing up."""


_request = _Request()


def asked() -> int | None:
    """The signal that asked this process to stop, if any did."""
    return _request.number


def look() -> None:
    """Raises: Stopped if someone asked to stop. To be called where nothing is half done."""
    if _request.number is not None:
        _request.heard = True
        raise Stopped(_request.number)


def hear() -> None:
    """Note that the request has arrived where it ends the work."""
    _request.heard = True


@contextmanager
def looking() -> Iterator[None]:
    """The block looks by itself: a signal interrupts it nowhere else, unless it forgets to look for seconds."""
    _request.looking += 1
    try:
        yield
    finally:
        _request.looking -= 1


@contextmanager
def stoppable(last_words: Callable[[Stopped], None] = lambda _: None) -> Iterator[None]:
    """End the block by `Stopped` when a signal asks for it; if it cannot, say the `last_words` and end the process.

    Inside of another such block, and in any thread but the main one, it changes nothing.
    """
    if _request.watched or threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(reading, over, last_words), daemon=True)
    # What whoever started the process had it ignore stays ignored, as Ctrl-C in a shell's background job.
    heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, ask) for number in heeded}
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _request.watched = True
    _leave_children_alone()
    watch.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(writing)
        watch.join()
        os.close(reading)
        _request.watched = False
        _request.forget()


def ask(number: int, _: FrameType | None = None) -> None:
    """The handler of the signals."""
    again = _request.number is not None
    if not again:
        _request.number, _request.at = number, time.monotonic()
    late = time.monotonic() - _request.at >= PATIENCE_SECONDS
    impatient = again and number == signal.SIGINT  # who presses Ctrl-C twice
    if not _request.heard and (late or impatient or not _request.looking):
        raise Stopped(number)


def _watch(reading: int, over: threading.Event, last_words: Callable[[Stopped], None]) -> None:
    """Wait for a signal, which Python writes down even while a library computes, and see that it has an effect."""
    while told := os.read(reading, 1):
        # Whoever handles the signal itself, as `graftline up` does, is not disturbed.
        if told[0] in SIGNALS and signal.getsignal(told[0]) is ask:
            break
    else:
        return
    number, began = told[0], time.monotonic()
    while not over.wait(PATIENCE_SECONDS):
        if time.monotonic() - began >= END_SECONDS:
            last_words(Stopped(number))
            sys.stdout.flush()
            os._exit(Stopped(number).exit_code)
        if not _request.heard:
            signal.pthread_kill(threading.main_thread().ident or 0, number)


@functools.cache
def _leave_children_alone() -> None:
    """A forked child is no part of the work: its pool ends it by a signal, of which the parent must not hear."""

    def forget() -> None:
        if _request.watched:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)

    os.register_at_fork(after_in_child=forget)
