"""Progress of what takes long, in the terminal and on Prefect's page, where there is one."""

import contextvars
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID

from graftline.tasks.stopping import look

# Shorter waits need no word.
PATIENCE_SECONDS = 5.0
# Seconds between two lines about progress: often enough to see it live, seldom enough to read.
SAY_SECONDS = 10.0
DRAW_SECONDS = 0.5
# The rate is that of the last minute: what a machine did before says nothing of when it will be done.
RATE_SECONDS = 60.0
BAR_CHARACTERS = 20
MINUTE, HOUR = 60, 3600
ERASE = "\r\x1b[2K"

logger = logging.getLogger("graftline.progress")


class ProgressBar:
    """A progress artifact of the running task, made at its first use."""

    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = key, description
        self._artifact: UUID | None = None

    def show(self, share: float) -> None:
        """Move the bar to `share`, 0 to 1. Where Prefect's server is away it stays as it is: the work goes on."""
        if not in_prefect():
            return
        from httpx import HTTPError
        from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

        # Each try would be waited for longer than the last, a minute in all.
        with suppress(HTTPError), temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            self._move_to(100 * share)

    def _move_to(self, progress: float) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        if self._artifact is None:
            self._artifact = create_progress_artifact(progress=0.0, key=self._key, description=self._description)  # type: ignore[assignment]
        update_progress_artifact(artifact_id=self._artifact, progress=progress)  # type: ignore[arg-type]


def in_prefect() -> bool:
    """Whether a flow or task run is going on that artifacts can belong to."""
    if "prefect" not in sys.modules:  # nobody has begun one, and to look would take a second
        return False
    from prefect.context import FlowRunContext, TaskRunContext

    return TaskRunContext.get() is not None or FlowRunContext.get() is not None


@dataclass
class RecentRate:
    """How much is done in a second, by the marks of the last minute."""

    marks: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, now: float, done: int) -> None:
        """Note how much was done by now; of the marks before the last minute the newest stays."""
        self.marks.append((now, done))
        while len(self.marks) > 2 and self.marks[1][0] <= now - RATE_SECONDS:
            self.marks.popleft()

    @property
    def per_second(self) -> float | None:
        """None as long as nothing was measured."""
        (began, first), (now, last) = self.marks[0], self.marks[-1]
        return (last - first) / (now - began) if now > began and last > first else None


class Wait:
    """A wait of known length: a bar, the rate of the last minute and the time left, if it takes over five seconds.

    One of unknown length has no bar and no time left. What is counted is said in `unit`s of so many.
    """

    def __init__(self, what: str, *, unit: str = "rows", of: int = 1, bar: ProgressBar | None = None) -> None:
        self._what, self._unit, self._of = what, unit, of
        self._bar = bar or ProgressBar(what.replace(" ", "-"), what)
        self._began = self._said = self._drawn = time.monotonic()
        self._rate = RecentRate()

    def tell(self, done: int, total: int | None, more: str = "") -> None:
        """So much of all is done, if that is known; `more` stands at the end of the line.

        Raises: Stopped if someone asked to stop: between two batches nothing is half done.
        """
        look()
        now = time.monotonic()
        over = total is not None and done >= total
        if not self._rate.marks or now - self._rate.marks[-1][0] >= DRAW_SECONDS / 2 or over:
            self._rate.add(now, done)
        if now - self._began < PATIENCE_SECONDS:
            return
        line = self._line(done, total) + more
        terminal = sys.stderr.isatty()
        if terminal and (now - self._drawn >= DRAW_SECONDS or over):
            self._drawn = now
            draw("" if over else _drawn_bar(done, total) + line)
        if now - self._said >= SAY_SECONDS:
            self._said = now
            if total is not None:
                self._bar.show(done / max(1, total))
            if not terminal:
                logger.info("%s", line)

    def _line(self, done: int, total: int | None) -> str:
        of_all = "" if total is None else f" of {total // self._of:,}"
        line = f"{self._what}: {done // self._of:,}{of_all} {self._unit}"
        if rate := self._rate.per_second:
            in_units = rate / self._of
            line += f", {in_units:,.{0 if in_units >= 10 else 1}f} {self._unit}/s"
            line += "" if total is None else f", {duration((total - done) / rate)} left"
        return line


def _drawn_bar(done: int, total: int | None) -> str:
    if total is None:
        return ""
    filled = round(BAR_CHARACTERS * done / max(1, total))
    return f"{'━' * filled}{'╌' * (BAR_CHARACTERS - filled)} "


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Says now and then that it still goes on, where nobody knows how long it takes."""
    over, began = threading.Event(), time.monotonic()

    def remind() -> None:
        while not over.wait(SAY_SECONDS):
            logger.info("%s: %s so far", what, duration(time.monotonic() - began))

    # With the context of the run, to which the lines belong on Prefect's page.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(remind,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def duration(seconds: float) -> str:
    """A time as one says it: 40 s, 4 min, 2 h 05 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < HOUR:
        return f"{round(seconds / MINUTE)} min"
    hours, minutes = divmod(round(seconds / MINUTE), MINUTE)
    return f"{hours} h {minutes:02} min"


def draw(line: str) -> None:
    """Put a line in the place of the one drawn before, on a terminal."""
    sys.stderr.write(ERASE + line)
    sys.stderr.flush()


def clear() -> None:
    """Take away the line that is drawn on a terminal, if any is."""
    if sys.stderr.isatty():
        draw("")


def make_way(_: logging.LogRecord) -> bool:
    """Clear the drawn line in front of a line that stays."""
    clear()
    return True
