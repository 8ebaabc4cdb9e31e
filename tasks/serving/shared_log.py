"""The log of served rows in a team's state: whoever serves sends it there, and whoever reads it brings it."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from uuid import uuid4

from graftline.tasks.state.shared import State, shared_state

SERVED, SUFFIX = "served", ".parquet"


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
