"""Step folders: `artifacts/<step>/<key>/`, where the key is the digest of everything that the step depends on."""

import importlib.metadata
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import JsonValue

from graftline.digests import file_sha256, json_sha256
from graftline.files import files_below, sync_folder, write_json
from graftline.tasks.own_code import code_sha256
from graftline.tasks.shared_files import give_back, share
from graftline.tasks.state.folders import (
    STEPS,
    alone_everywhere,
    bring_step,
    bring_unfinished,
    drop_unfinished,
    files_in,
    send_step,
)
from graftline.tasks.state.shared import State, shared_state
from graftline.tasks.step_uses import note_use
from graftline.tasks.workspace import Workspace

Outcome = Literal["ran", "reused"]
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class StepFolder:
    """A finished step: where its files are and whether they were made just now."""

    path: Path
    key: str
    outcome: Outcome

    def read_json(self, name: str) -> JsonValue:
        value: JsonValue = json.loads((self.path / name).read_text(encoding="utf-8"))
        return value


def produce(
    workspace: Workspace,
    step: str,
    *,
    depends_on: Mapping[str, JsonValue],
    code: Sequence[str],
    libraries: Sequence[str],
    build: Callable[[Path], None],
    resumable: bool = False,
) -> StepFolder:
    """Return the step's folder, made by `build` unless it exists already and is intact.

    `build` fills an empty folder that is renamed into place afterwards, so a killed step leaves nothing that looks
    finished. A `resumable` step finds what a killed one left. Processes that want the same folder wait for one. With
    GRAFTLINE_STATE all of this holds across machines: what one of them made, or left, the others get from there.
    A finished folder whose files differ from its manifest is set aside and made again. `code` are the modules that
    make the result; what they import counts with them. Large files may afterwards be shared with other folders, and
    not be written to.
    """
    inputs = _inputs(step, depends_on, code, libraries)
    key = json_sha256(inputs)[:32]
    parent = workspace.artifacts / step
    final, partial = parent / key, parent / f".{key}.partial"
    parent.mkdir(parents=True, exist_ok=True)
    note_use(f"{step}/{key}")
    state = shared_state()
    with FileLock(parent / f".{key}.lock"):
        if _is_there(state, step, key, final):
            return StepFolder(final, key, "reused")
        with alone_everywhere(f"{STEPS}/{step}", key):
            if _is_there(state, step, key, final):  # another machine has made it meanwhile
                return StepFolder(final, key, "reused")
            if partial.exists() and not resumable:
                shutil.rmtree(partial)
            if state is not None and resumable:
                bring_unfinished(state, partial)
            _make(workspace, final, partial, inputs, build)
            if state is not None:
                _send(state, step, key, final)
                drop_unfinished(state, partial)
    return StepFolder(final, key, "ran")


def finished(
    workspace: Workspace,
    step: str,
    *,
    depends_on: Mapping[str, JsonValue],
    code: Sequence[str],
    libraries: Sequence[str],
) -> StepFolder | None:
    """The folder that `produce` would reuse; None where it would have to make it."""
    key = json_sha256(_inputs(step, depends_on, code, libraries))[:32]
    final = workspace.artifacts / step / key
    final.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(final.with_name(f".{key}.lock")):
        if not _is_there(shared_state(), step, key, final):
            return None
    note_use(f"{step}/{key}")
    return StepFolder(final, key, "reused")


def _inputs(
    step: str, depends_on: Mapping[str, JsonValue], code: Sequence[str], libraries: Sequence[str]
) -> dict[str, JsonValue]:
    return {
        "step": step,
        "depends_on": dict(depends_on),
        "libraries": {name: importlib.metadata.version(name) for name in sorted(libraries)},
        "code": code_sha256(*code),
    }


def _is_there(state: State | None, step: str, key: str, final: Path) -> bool:
    """Whether the folder is intact, here or after it was brought here. One that is damaged is set aside."""
    if is_intact(final):
        if state is not None:
            _send(state, step, key, final)
        return True
    if final.exists():
        damaged = final.with_name(f".{key}.damaged")
        shutil.rmtree(damaged, ignore_errors=True)
        final.rename(damaged)
    brought = final.with_name(f".{key}.brought")
    if state is None or not bring_step(state, step, key, brought, MANIFEST):
        return False
    brought.rename(final)
    sync_folder(final.parent)
    return True


def _send(state: State, step: str, key: str, final: Path) -> None:
    manifest = (final / MANIFEST).read_bytes()
    send_step(state, step, key, final, manifest, files_in(manifest) or {})


def is_intact(folder: Path) -> bool:
    """Whether a finished folder holds exactly the files of its manifest, each with the digest it had."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("files") == _listing(folder)


def listed(folder: Path) -> frozenset[str]:
    """The digests of the files that a finished folder's manifest lists; none where it is unreadable."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return frozenset(files.values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return frozenset()


def if_unlocked(lock: Path, remove: Callable[[], bool]) -> bool:
    """The outcome of `remove` under a lock; False, and nothing done, while somebody else has it."""
    try:
        with FileLock(lock, timeout=0):
            return remove()
    except Timeout:
        return False


def remove_folder(folder: Path) -> bool:
    """Remove a folder that may look finished: by another name first, so that a kill leaves no half of it."""
    gone = folder.with_name(f".{folder.name.strip('.').partition('.')[0]}.damaged")
    if folder != gone:
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
    shutil.rmtree(gone)
    return True


def _make(
    workspace: Workspace, final: Path, partial: Path, inputs: Mapping[str, JsonValue], build: Callable[[Path], None]
) -> None:
    """Fill the partial folder, write its manifest, and give it its final name."""
    partial.mkdir(exist_ok=True)
    give_back(partial)
    build(partial)
    listing = _listing(partial)
    share(workspace.shared_files, {partial / name: sha256 for name, sha256 in listing.items()})
    write_json(partial / MANIFEST, {"inputs": {**inputs}, "files": {**listing}})
    partial.rename(final)
    sync_folder(final.parent)


def _listing(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in files_below(folder)
        if path.relative_to(folder).as_posix() != MANIFEST
    }
