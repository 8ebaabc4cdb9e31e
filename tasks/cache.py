"""The project folder as a cache of a team's state: finished steps that are there may go from the disk."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from graftline.errors import SettingsError
from graftline.files import files_below
from graftline.tasks.state.folders import STEPS
from graftline.tasks.state.shared import shared_state
from graftline.tasks.step_folders import if_unlocked, remove_folder
from graftline.tasks.step_uses import Use, read_uses
from graftline.tasks.workspace import Workspace

LIMIT = "GRAFTLINE_CACHE_GIGABYTES"
GIGABYTE = 1e9

logger = logging.getLogger("graftline.cache")


def cache_limit() -> float | None:
    """How many bytes `artifacts/` may take; None without a limit. Raises: SettingsError if it is no number."""
    said = os.environ.get(LIMIT, "").strip()
    if not said:
        return None
    try:
        limit = float(said)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise SettingsError(
            f"{LIMIT}={said}: is no size, expected a number of gigabytes such as 50; correct or unset it"
        )
    return limit * GIGABYTE


def trim_cache(workspace: Workspace) -> list[str]:
    """Remove finished steps from this disk until `artifacts/` is within its limit, the least recently used first.

    Only what a team's state has, and no run on this machine needs. Returns: the names of what was removed.
    """
    state, limit = shared_state(), cache_limit()
    if state is None or limit is None:
        return []
    uses, removed = read_uses(workspace), list[str]()
    needed = _needed(uses)
    last_use = {place: number for number, use in enumerate(uses) for place in use.places}
    for place in sorted(last_use, key=lambda place: (last_use[place], place)):
        folder = workspace.artifacts / place
        if _size_of(workspace.artifacts) <= limit:
            break
        there = state.room(STEPS, folder.parent.name).age(f"{folder.name}.json") is not None
        if place not in needed and folder.is_dir() and there and _remove(workspace, place):
            removed.append(place)
    if removed:
        logger.info("%d finished steps were removed from this disk; the state has them", len(removed))
    return removed


def _needed(uses: Sequence[Use]) -> frozenset[str]:
    """What the runs that go on have taken."""
    return frozenset[str]().union(*(use.places for use in uses if use.live))


def _remove(workspace: Workspace, place: str) -> bool:
    """Remove a finished step; what it shared with nobody else goes with it."""
    folder = workspace.artifacts / place
    if not if_unlocked(folder.with_name(f".{folder.name}.lock"), lambda: _remove_unneeded(workspace, place)):
        return False
    for path in files_below(workspace.shared_files):
        if path.lstat().st_nlink == 1:
            path.unlink(missing_ok=True)
    return True


def _remove_unneeded(workspace: Workspace, place: str) -> bool:
    """Under the step's lock: a run notes that it needs a folder before it takes that, and looks only then."""
    if place in _needed(read_uses(workspace)):  # by a run that has begun since
        return False
    return remove_folder(workspace.artifacts / place)


def _size_of(folder: Path) -> int:
    """The bytes of a folder's files, each once however many names it has."""
    found = {(one.st_dev, one.st_ino): one.st_size for one in map(Path.lstat, files_below(folder))}
    return sum(found.values())
