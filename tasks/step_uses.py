"""Notes of what each run goes through, written as it goes: `graftline gc` leaves that alone."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from graftline.errors import ServerAwayError
from graftline.tasks.state.shared import State, shared_state
from graftline.tasks.workspace import Workspace

# The kinds of lines: of which model the run is, which folder below artifacts/ it needs, which version it ended with.
MODEL, PLACE, VERSION = "model", "needs", "version"
SUFFIX = ".use"
# The room of a team's state that holds those of all machines.
USES = "uses"

_notes: ContextVar[Path | None] = ContextVar("notes", default=None)
_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


@dataclass(frozen=True)
class Use:
    """The notes of one run."""

    path: Path
    model: str
    places: frozenset[str]
    """Folders below `artifacts/`, such as fine_tune/KEY."""
    version: int | None
    """None of a run that has not ended, or not well."""
    live: bool
    """Whether its process is still there."""


@contextmanager
def noting_uses(workspace: Workspace, model: str) -> Iterator[Callable[[int], None]]:
    """Note what is used inside as a run of `model`. Yields: what to call with the version that it ended with."""
    folder = _folder(workspace)
    folder.mkdir(parents=True, exist_ok=True)
    # The names are in the order of time.
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{uuid4().hex[:8]}{SUFFIX}"
    with FileLock(_lock_of(path)):
        _write(path, MODEL, model)
        before = _notes.set(path)
        try:
            yield lambda version: _write(path, VERSION, str(version))
        finally:
            _notes.reset(before)
            _share(path)


def note_use(place: str) -> None:
    """Note that the present run, if there is one, needs this folder below `artifacts/`: before it looks at it."""
    if (collected := _collected.get()) is not None:
        collected.append(place)
    elif (path := _notes.get()) is not None:
        _write(path, PLACE, place)


@contextmanager
def collected_uses() -> Iterator[list[str]]:
    """What is used inside, for whoever notes it where the run is: on another machine than this one."""
    places: list[str] = []
    before = _collected.set(places)
    try:
        yield places
    finally:
        _collected.reset(before)


def read_uses(workspace: Workspace) -> list[Use]:
    """The notes of all runs, the oldest first."""
    return [_read(path) for path in sorted(_folder(workspace).glob(f"*{SUFFIX}"))]


def needed(uses: list[Use], versions: Mapping[str, Collection[int]]) -> list[Use]:
    """Those whose folders are to stay: of each model the newest run that ended well, and what was begun since.

    Beside these the live ones, and those that ended with one of these `versions`.
    """
    kept, settled = [], set[str]()
    for use in reversed(uses):
        if use.live or use.model not in settled or use.version in versions.get(use.model, ()):
            kept.append(use)
        if use.version is not None:
            settled.add(use.model)
    return kept


def shared_uses(state: State) -> list[Use]:
    """The notes of the ended runs of all machines, the oldest first."""
    room = state.room(USES)
    names = [name for name in room.names() if name.endswith(SUFFIX)]
    files = room.read_ahead(names)
    kept = [(name, files.read(name)) for name in names]
    return [_parsed(Path(name), one.content.decode(), live=False) for name, one in kept if one is not None]


def _share(path: Path) -> None:
    """Tell the other machines, if they share a state; one that is away will know it from the next run."""
    if (state := shared_state()) is not None:
        with suppress(ServerAwayError):
            state.room(USES).write_once(path.name, path.read_bytes())


def _read(path: Path) -> Use:
    return _parsed(path, path.read_text(encoding="utf-8"), live=_is_live(path))


def _parsed(path: Path, text: str, *, live: bool) -> Use:
    # A kill may have cut off the last line.
    lines = [line.partition(" ") for line in text.splitlines(keepends=True)]
    said = [(kind, value.rstrip("\n")) for kind, _, value in lines if value.endswith("\n")]
    versions = [int(value) for kind, value in said if kind == VERSION]
    return Use(
        path,
        next((value for kind, value in said if kind == MODEL), ""),
        frozenset(value for kind, value in said if kind == PLACE),
        versions[-1] if versions else None,
        live,
    )


def _is_live(path: Path) -> bool:
    if not _lock_of(path).exists():
        return False
    try:
        with FileLock(_lock_of(path), timeout=0):
            return False
    except Timeout:
        return True


def _write(path: Path, kind: str, value: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{kind} {value}\n")


def _folder(workspace: Workspace) -> Path:
    return workspace.artifacts / USES


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")
