"""What lies in a team's state and is needed by no version, no run and no repetition of one."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from graftline.tasks.state.folders import FEATURES, FILES, GRACE_SECONDS, LISTING, STEPS, UNFINISHED, files_in
from graftline.tasks.state.lease import SUFFIX as LOCK
from graftline.tasks.state.room import Room
from graftline.tasks.state.shared import State
from graftline.tasks.step_uses import USES, Use

LISTED = ".json"
# Somebody may come back to a training that was killed, after a holiday.
UNFINISHED_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True)
class SharedGarbage:
    """Something in the state that can be removed."""

    what: str
    why: str
    size_bytes: int
    remove: Callable[[], bool]
    """Removes it, unless a machine has sent it again since it was found: then False."""


def find_shared_garbage(state: State, needed: list[Use], uses: list[Use], features_of: str) -> Iterator[SharedGarbage]:
    """All that can be removed. What came within the last days stays: a machine may be about to name it.

    `features_of` is the file in which a step says which feature stores it used.
    """
    if not needed:  # no telling what is needed
        return
    places = frozenset[str]().union(*(use.places for use in needed))
    files, steps = state.room(FILES), state.room(STEPS)
    named, stores = set[str](), set[str]()
    for step in steps.rooms():
        room = state.room(STEPS, step)
        for name, lying in room.lying().items():
            key = name.removesuffix(LISTED)
            if not name.endswith(LISTED):
                continue
            if f"{step}/{key}" not in places and lying.age_seconds > GRACE_SECONDS:
                what = f"{STEPS}/{step}/{key}"
                remove = partial(_remove, room, (name, f"{key}{LOCK}"), GRACE_SECONDS)
                yield SharedGarbage(what, "made by an earlier run", lying.size_bytes, remove)
                continue
            of_step = _files(room, name)
            named |= set(of_step.values())
            stores |= _stores(files, of_step.get(features_of))
    yield from _unfinished(state)
    kept = state.room(FEATURES)
    for name, lying in kept.lying().items():
        if name.removesuffix(LISTED) not in stores and lying.age_seconds > GRACE_SECONDS:
            what = f"{FEATURES}/{name.removesuffix(LISTED)}"
            remove = partial(_remove, kept, (name,), GRACE_SECONDS)
            yield SharedGarbage(what, "what a frozen part gave in an earlier run", lying.size_bytes, remove)
        else:
            named |= set(_files(kept, name).values())
    for name, lying in files.lying().items():
        if name not in named and lying.age_seconds > GRACE_SECONDS:
            remove = partial(_remove, files, (name,), GRACE_SECONDS)
            yield SharedGarbage(f"{FILES}/{name[:12]}", "a file that no step names", lying.size_bytes, remove)
    gone = tuple(use.path.name for use in uses if use not in needed and not use.live)
    if gone:  # nobody writes to the note of a run that has ended
        yield SharedGarbage(USES, "notes of earlier runs", 0, partial(_remove, state.room(USES), gone, 0.0))


def _unfinished(state: State) -> Iterator[SharedGarbage]:
    for step in state.room(UNFINISHED).rooms():
        for key in state.room(UNFINISHED, step).rooms():
            room = state.room(UNFINISHED, step, key)
            lying = room.lying()
            if min((one.age_seconds for one in lying.values()), default=0.0) > UNFINISHED_SECONDS:
                size = sum(one.size_bytes for one in lying.values())
                names = (LISTING, *(name for name in lying if name != LISTING))
                why = "left by a killed run, which none went on with"
                remove = partial(_remove, room, names, UNFINISHED_SECONDS)
                yield SharedGarbage(f"{UNFINISHED}/{step}/{key}", why, size, remove)


def _remove(room: Room, names: tuple[str, ...], after_seconds: float) -> bool:
    """Whoever was asked whether it may go may have thought for hours: what came since then stays."""
    age = room.age(names[0])
    if age is not None and age < after_seconds:
        return False
    for name in names:
        room.remove(name)
    return True


def _files(room: Room, name: str) -> Mapping[str, str]:
    kept = room.read(name)
    return (files_in(kept.content) if kept else None) or {}


def _stores(files: Room, sha256: str | None) -> set[str]:
    """The feature stores that a step used, by what it wrote of that."""
    kept = files.read(sha256) if sha256 else None
    try:
        return set(map(str, json.loads(kept.content))) if kept else set()
    except (ValueError, TypeError):
        return set()
