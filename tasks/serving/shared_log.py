"""The log of served rows in a team's state: whoever serves sends it there, and whoever reads it brings it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from queue import SimpleQueue
from uuid import uuid4

from graftline.errors import ServerAwayError, SettingsError
from graftline.tasks.state.shared import State, shared_state

SERVED, SUFFIX = "served", ".parquet"

logger = logging.getLogger("graftline.serving")


class Sender:
    """Brings a model's files to a team's state, if there is one, in a thread of its own: who writes waits for none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked: SimpleQueue[Path | date | None] = SimpleQueue()
        self._unsent: list[Path] | None = None
        """Files that the state lacks; None before it was asked."""
        self._thread = threading.Thread(target=self._run, name="sender of the request log", daemon=True)
        self._thread.start()

    def send(self, file: Path) -> None:
        """Bring a file; one that the state does not take is sent with the next."""
        self._asked.put(file)

    def forget(self, before: date) -> None:
        """Remove the days before this one."""
        self._asked.put(before)

    def close(self) -> None:
        """Try all that is left once more."""
        self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_due = False
        while (asked := self._asked.get()) is not None:
            is_due = True
            if isinstance(asked, date):
                with suppress(ServerAwayError, SettingsError):
                    forget(self._folder.name, asked)
            elif self._unsent is not None:
                self._unsent.append(asked)
            if self._asked.empty():  # otherwise together with the next
                is_due = not self._send()
        if is_due:
            self._send()

    def _send(self) -> bool:
        """Whether the state holds all of it now."""
        try:
            self._unsent = unsent(self._folder) if self._unsent is None else self._unsent
            while self._unsent:
                send(self._unsent[0])
                self._unsent.pop(0)
        except (ServerAwayError, SettingsError, OSError) as error:
            logger.warning("served rows stay on this machine for now: %s", error)
            return False
        return True


def unsent(folder: Path) -> list[Path]:
    """The files below a model's folder, one per day, that the state lacks; none without a state.

    Raises: ServerAwayError.
    """
    if (state := shared_state()) is None or not folder.is_dir():
        return []
    found = []
    for day in sorted(place for place in folder.iterdir() if place.is_dir()):
        there = set(state.room(SERVED, folder.name, day.name).names())
        found += [file for file in sorted(day.glob(f"[!.]*{SUFFIX}")) if file.name not in there]
    return found


def send(file: Path) -> None:
    """Raises: ServerAwayError."""
    if (state := shared_state()) is not None:
        state.room(SERVED, file.parent.parent.name, file.parent.name).upload(file.name, file)


def bring(folder: Path, first: date, last: date) -> None:
    """Bring what others served on these days to a model's folder. Raises: ServerAwayError."""
    if (state := shared_state()) is None:
        return
    for day in _days(state, folder.name):
        if first <= day <= last:
            room, here = state.room(SERVED, folder.name, day.isoformat()), folder / day.isoformat()
            here.mkdir(parents=True, exist_ok=True)
            for name in room.names():
                if name.endswith(SUFFIX) and "/" not in name and not (here / name).exists():
                    partial = here / f".{uuid4().hex}.part"
                    if room.download(name, partial):
                        partial.replace(here / name)


def days_elsewhere(model: str) -> set[date]:
    """The days of which the state has a log; none without a state. Raises: ServerAwayError."""
    state = shared_state()
    return set(_days(state, model)) if state else set()


def forget(model: str, before: date) -> None:
    """Remove the days before this one from the state. Raises: ServerAwayError."""
    if (state := shared_state()) is None:
        return
    for day in _days(state, model):
        if day < before:
            room = state.room(SERVED, model, day.isoformat())
            for name in room.names():
                room.remove(name)


def _days(state: State, model: str) -> Iterator[date]:
    for name in state.room(SERVED, model).rooms():
        with suppress(ValueError):
            yield date.fromisoformat(name)
