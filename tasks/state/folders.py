"""Folders in a team's state: a list of their files under a name, and each file by its digest."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from graftline.digests import file_sha256
from graftline.files import files_below, json_file, write_atomically
from graftline.tasks.state.room import Room
from graftline.tasks.state.shared import State, shared_state

FILES, STEPS, UNFINISHED, FEATURES, RUNS = "files", "steps", "unfinished", "features", "runs"
LISTING = "listing.json"
# What nobody names is removed once it has lain there for so long (tasks/garbage.py). One that was found long after it
# was sent is therefore sent again before it is named.
GRACE_SECONDS = 3 * 24 * 3600.0
RENEWED_SECONDS = GRACE_SECONDS / 3
# A training may take days. Whoever waits looks meanwhile whether it is to stop.
FOREVER_SECONDS = 10 * 365 * 24 * 3600.0

# What differs from its digest may have been changed on its way; what differs twice is damaged where it lies.
DOWNLOADS = 2

logger = logging.getLogger("graftline.state")


@contextmanager
def alone_everywhere(room: str, name: str) -> Iterator[None]:
    """Keep processes of all machines out of the block, if there is a state that they share."""
    if (state := shared_state()) is None:
        yield
        return
    with state.room(room).alone(name, FOREVER_SECONDS):
        yield


def send_step(state: State, step: str, key: str, folder: Path, manifest: bytes, files: Mapping[str, str]) -> None:
    """Bring a finished folder to the state, unless it is there; the list of its files comes last."""
    room = state.room(STEPS, step)
    if room.age(_listed(key)) is None:
        _send_files(state.room(FILES), folder, files)
        room.write_once(_listed(key), manifest)


def bring_step(state: State, step: str, key: str, folder: Path, manifest: str) -> bool:
    """Fill a folder with the files of a finished step and its manifest under that name.

    Returns: False, with the folder gone, if the state has none, or one that is damaged.
    """
    room = state.room(STEPS, step)
    if (kept := room.read(_listed(key))) is None:
        return False
    files = files_in(kept.content)
    if files is None or not _bring_files(state.room(FILES), folder, files):
        room.remove(_listed(key))  # so that it is sent again
        return False
    (folder / manifest).write_bytes(kept.content)
    logger.info("%s: brought from %s", step, state.address)
    return True


def keep_unfinished(folder: Path) -> None:
    """Bring what a killed step would go on from to the state, in the place of what was there."""
    if (state := shared_state()) is None:
        return
    room = _unfinished(state, folder)
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in _settled_files(folder)}
    listing = json_file({"files": {**files}})
    _send_files(room, folder, files)
    room.replace(LISTING, listing)
    write_atomically(_newest_known(folder), hashlib.sha256(listing).hexdigest())
    for name in {*room.names()} - {LISTING, *files.values()}:
        room.remove(name)


def bring_unfinished(state: State, folder: Path) -> None:
    """Fill a folder with what a step left on whatever machine, if it left anything.

    What lies here stays unless another machine went on since: whatever this one sent, it has.
    """
    room, known = _unfinished(state, folder), _newest_known(folder)
    kept = room.read(LISTING)
    files = files_in(kept.content) if kept else None
    if kept is None or not files:
        return
    digest = hashlib.sha256(kept.content).hexdigest()
    if folder.exists() and known.exists() and known.read_text() == digest:
        return
    brought = known.with_suffix(".brought")
    if _bring_files(room, brought, files):
        shutil.rmtree(folder, ignore_errors=True)
        brought.rename(folder)
        write_atomically(known, digest)
        logger.info("%s: goes on from what another start left at %s", folder.parent.name, state.address)


def drop_unfinished(state: State, folder: Path) -> None:
    """Forget it: the step is finished."""
    room = _unfinished(state, folder)
    for name in reversed(room.names()):  # the list first
        room.remove(name)
    _newest_known(folder).unlink(missing_ok=True)


def send_store(state: State, key: str, folder: Path, names: tuple[str, ...]) -> None:
    """Bring the files of a feature store to the state, unless a larger one is there."""
    room, sizes = state.room(FEATURES), {name: (folder / name).stat().st_size for name in names}
    total = sum(sizes.values())
    kept = room.read(_listed(key))
    if kept is not None and _size_in(kept.content) >= total:
        return
    files = {name: file_sha256(folder / name) for name in names}
    _send_files(state.room(FILES), folder, files)
    room.replace(_listed(key), json_file({"files": {**files}, "bytes": total}))


def bring_store(state: State, key: str, folder: Path, *, limit_bytes: int, prepare: Callable[[Path], None]) -> None:
    """Make a feature store in `folder` of the one in the state, if there is one within the limit and none here."""
    kept = None if folder.exists() else state.room(FEATURES).read(_listed(key))
    if kept is None or _size_in(kept.content) > limit_bytes or not (files := files_in(kept.content)):
        return
    partial = folder.with_name(f".{key}.brought")
    if _bring_files(state.room(FILES), partial, files):
        prepare(partial)
        partial.rename(folder)
        logger.info("frozen part: what is kept of it was brought from %s", state.address)


def files_in(listing: bytes) -> dict[str, str] | None:
    """The digests of the files that a list names, by their paths; None if it is damaged or leads out of a folder."""
    try:
        files = json.loads(listing)["files"]
        paths = [PurePosixPath(name) for name in files]
        if any(path.is_absolute() or ".." in path.parts for path in paths):
            return None
        return {str(name): str(sha256) for name, sha256 in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _send_files(room: Room, folder: Path, files: Mapping[str, str]) -> None:
    for name, sha256 in files.items():
        age = room.age(sha256)
        if age is None or age > RENEWED_SECONDS:
            room.upload(sha256, folder / name)


def _bring_files(room: Room, folder: Path, files: Mapping[str, str]) -> bool:
    """Fill a folder anew. Returns: False, with the folder gone, if a file is not there or damaged.

    Each damaged one is removed, so that it is sent again when it was made again.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    whole = [_bring_file(room, sha256, folder / name) for name, sha256 in files.items()]
    if not all(whole):
        shutil.rmtree(folder)
    return all(whole)


def _bring_file(room: Room, sha256: str, path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    there = False
    for _ in range(DOWNLOADS):
        there = room.download(sha256, path)
        if there and file_sha256(path) == sha256:
            return True
    what = "was damaged, and is removed there" if there else "is not there"
    logger.warning("%s %s: it is made again", room.where(sha256), what)
    room.remove(sha256)
    return False


def _unfinished(state: State, folder: Path) -> Room:
    """Of a folder such as fine_tune/.KEY.partial."""
    return state.room(UNFINISHED, folder.parent.name, folder.name.strip(".").partition(".")[0])


def _newest_known(folder: Path) -> Path:
    """Beside the folder: the digest of the list that this machine last sent or brought."""
    return folder.with_suffix(".sent")


def _settled_files(folder: Path) -> list[Path]:
    """All but what is being written."""
    parts = {path: path.relative_to(folder).parts for path in files_below(folder)}
    return [path for path in parts if not any(part.startswith(".") for part in parts[path])]


def _size_in(listing: bytes) -> int:
    try:
        return int(json.loads(listing)["bytes"])
    except (ValueError, KeyError, TypeError):
        return 0


def _listed(key: str) -> str:
    return f"{key}.json"
