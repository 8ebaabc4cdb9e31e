"""What lies in `artifacts/` and `mlflow/` and is needed by no version, no run and no repetition of one."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from graftline.base_models.lock import parse_lock
from graftline.files import files_below
from graftline.tasks.base_models.store import LOCK_FILE, store_of
from graftline.tasks.registry.removal import (
    base_models_of,
    models_decided_here,
    orphans,
    remove_orphan,
    remove_version,
    surplus_versions,
    versions_in_use,
)
from graftline.tasks.shared_garbage import find_shared_garbage
from graftline.tasks.state.shared import State, shared_state
from graftline.tasks.step_folders import if_unlocked, is_intact, listed, remove_folder
from graftline.tasks.step_uses import Use, needed, read_uses, shared_uses
from graftline.tasks.steps.adapting import FEATURES
from graftline.tasks.tracking.server import connect, has_registry
from graftline.tasks.unchanged.receipts import RECEIPT, read_receipt
from graftline.tasks.workspace import Workspace

KEY, SHA256 = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{64}")
# Beside the key of a step: what a kill left of it, and what was made again because it was damaged.
UNFINISHED = re.compile(r"\.([0-9a-f]{32})\.(partial|damaged)")


@dataclass(frozen=True)
class Garbage:
    """Something that can be removed."""

    what: str
    why: str
    paths: tuple[Path, ...]
    """Files and folders that go with it."""
    remove: Callable[[], bool]
    """Removes it, unless it is in use by now: then False."""
    elsewhere_bytes: int = 0
    """Of what lies in a team's state."""


@dataclass(frozen=True)
class Needs:
    """What is to stay."""

    uses: tuple[Use, ...]
    base_models: frozenset[str] | None
    """Digests; None where no lock file tells."""

    @property
    def places(self) -> frozenset[str]:
        return frozenset[str]().union(*(use.places for use in self.uses))


def find_garbage(workspace: Workspace, *, keep_rejected: int) -> list[Garbage]:
    """All that can be removed. Changes nothing but what a kill left half done in a model's history.

    Raises: RegistryRefusedError if a history is broken, or a server that the environment names does not answer.
    """
    versions: dict[str, set[int]] = {}
    of_registry: list[Garbage] = []
    base_models = _locked_models(workspace)
    if has_registry(workspace):
        connect(workspace)
        versions = versions_in_use(workspace)
        of_registry, gone = _versions(workspace, keep_rejected)
        if base_models is not None:
            base_models |= base_models_of(gone)
    uses, state = read_uses(workspace), shared_state()
    if state is not None:
        own = {use.path.name for use in uses}  # a run of this machine lies in both places, and is one run
        uses = sorted([*uses, *(use for use in shared_uses(state) if use.path.name not in own)], key=_name_of)
    needs = Needs(tuple(needed(uses, versions)), None if base_models is None else frozenset(base_models))
    found = [*_steps(workspace, needs, versions), *_stores(workspace, needs), *_base_models(workspace, needs, versions)]
    found += [*_unfinished_registrations(workspace), *of_registry]
    found += [*_shared_files(workspace, found), *_receipts(workspace, found)]
    found += _notes(workspace, [use for use in uses if use.path.is_absolute()], needs)
    return found if state is None else [*found, *_elsewhere(state, needs, uses)]


def _elsewhere(state: State, needs: Needs, uses: list[Use]) -> Iterator[Garbage]:
    for one in find_shared_garbage(state, list(needs.uses), uses, FEATURES):
        yield Garbage(f"{state.address.rstrip('/')}/{one.what}", one.why, (), one.remove, one.size_bytes)


def _name_of(use: Use) -> str:
    """By which they are in the order of time."""
    return use.path.name


def sizes_of(found: list[Garbage]) -> list[int]:
    """The bytes that each gives free if all go: of a file that lies in several, once, and only if no other has it."""
    inodes = [[(path.lstat().st_dev, path.lstat().st_ino) for path in _files_of(one)] for one in found]
    links = Counter(inode for of_one in inodes for inode in of_one)
    seen = set[tuple[int, int]]()
    sizes = []
    for one, of_one in zip(found, inodes, strict=True):
        size = 0
        for path, inode in zip(_files_of(one), of_one, strict=True):
            if inode not in seen and links[inode] >= path.lstat().st_nlink:
                size += path.lstat().st_size
                seen.add(inode)
        sizes.append(size + one.elsewhere_bytes)
    return sizes


def _files_of(one: Garbage) -> list[Path]:
    return [file for path in one.paths for file in (files_below(path) if path.is_dir() else [path])]


def _locked_models(workspace: Workspace) -> set[str] | None:
    path = workspace.root / LOCK_FILE
    if not path.exists():
        return None
    return {model.digest for model in parse_lock(path.read_text(encoding="utf-8"), str(path)).values()}


def _versions(workspace: Workspace, keep: int) -> tuple[list[Garbage], set[tuple[str, int]]]:
    """Versions that are surplus, and the copies of models that nothing refers to without them."""
    found, gone = [], set[tuple[str, int]]()
    for model in models_decided_here(workspace):
        for surplus in surplus_versions(workspace, model, keep=keep):
            gone.add((model, surplus.version))
            why = f"{surplus.judged.verdict}, older than the {keep} newest that were held or rejected"
            remove = partial(remove_version, workspace, surplus, keep=keep)
            found.append(Garbage(f"{model} version {surplus.version}", why, (), remove))
    for orphan in orphans(workspace, gone):
        why = "a copy of a model that no version refers to"
        found.append(_garbage(workspace, orphan.path, why, partial(remove_orphan, workspace, orphan)))
    return found, gone


def _steps(workspace: Workspace, needs: Needs, versions: dict[str, set[int]]) -> Iterator[Garbage]:
    """Step folders. Before the first run that was noted there is no telling what is needed: then only damaged ones."""
    for folder in _step_folders(workspace):
        unfinished = UNFINISHED.fullmatch(folder.name)
        key = unfinished[1] if unfinished else folder.name
        place = f"{folder.parent.name}/{key}"
        is_needed = place in needs.places or not needs.uses
        if unfinished and unfinished[2] == "damaged":
            why = "was damaged and made again"
        elif not is_needed:
            why = "left by a killed run, which none goes on with" if unfinished else "made by an earlier run"
        elif not unfinished and not is_intact(folder):
            why = "damaged"
        else:
            continue
        remove = partial(remove_folder, folder)
        if not (is_needed or (unfinished and unfinished[2] == "damaged")):
            remove = partial(_remove_unneeded, workspace, place, versions, folder)
        yield _garbage(workspace, folder, why, partial(if_unlocked, folder.with_name(f".{key}.lock"), remove))


def _remove_unneeded(workspace: Workspace, place: str, versions: dict[str, set[int]], folder: Path) -> bool:
    """Under the step's lock: a run notes that it needs a folder before it takes that, and looks only then."""
    if any(place in use.places for use in needed(read_uses(workspace), versions)):
        return False
    return remove_folder(folder)


def _step_folders(workspace: Workspace) -> list[Path]:
    apart = {store_of(workspace).name, workspace.features.name, workspace.shared_files.name}
    steps = [path for path in sorted(workspace.artifacts.iterdir()) if path.is_dir() and path.name not in apart]
    found = [path for step in steps for path in sorted(step.iterdir()) if path.is_dir()]
    return [path for path in found if KEY.fullmatch(path.name) or UNFINISHED.fullmatch(path.name)]


def _stores(workspace: Workspace, needs: Needs) -> Iterator[Garbage]:
    """The kept outputs of frozen parts."""
    if not needs.uses or not workspace.features.exists():
        return
    from graftline.frozen.eviction import evict, stores_in

    used = {key for place in needs.places for key in _stores_of(workspace.artifacts / place)}
    for folder in stores_in(workspace.features):
        if folder.name not in used and not folder.name.startswith("."):
            why = "what a frozen part gave in an earlier run"
            yield _garbage(workspace, folder, why, partial(evict, folder))


def _stores_of(step: Path) -> list[str]:
    written = step / FEATURES
    return [str(key) for key in json.loads(written.read_text(encoding="utf-8"))] if written.is_file() else []


def _base_models(workspace: Workspace, needs: Needs, versions: dict[str, set[int]]) -> Iterator[Garbage]:
    if needs.base_models is None:
        return
    kept = needs.base_models | {Path(place).name for place in needs.places}
    store = store_of(workspace)
    for folder in sorted(store.iterdir()):
        digest = folder.name.strip(".").partition(".")[0]
        if folder.is_dir() and SHA256.fullmatch(digest) and digest not in kept:
            why = f"a base model in no entry of {LOCK_FILE}, from which no version was made"
            remove = partial(_remove_base_model, workspace, digest, versions, folder)
            yield _garbage(workspace, folder, why, partial(if_unlocked, store / f".{digest}.lock", remove))


def _remove_base_model(workspace: Workspace, digest: str, versions: dict[str, set[int]], folder: Path) -> bool:
    """As `_remove_unneeded`; it may also have been locked meanwhile."""
    if digest in (_locked_models(workspace) or ()):
        return False
    return _remove_unneeded(workspace, f"{folder.parent.name}/{digest}", versions, folder)


def _unfinished_registrations(workspace: Workspace) -> Iterator[Garbage]:
    from graftline.tasks.steps.registering import REGISTERING

    for folder in sorted((workspace.artifacts / "runs").glob(f"*{REGISTERING}")):
        lock = folder.with_name(f".{folder.name.removesuffix(REGISTERING)}.lock")
        why = "left by a run that was killed while it registered its model"
        yield _garbage(workspace, folder, why, partial(if_unlocked, lock, partial(remove_folder, folder)))


def _shared_files(workspace: Workspace, found: list[Garbage]) -> Iterator[Garbage]:
    """Files that only folders had which go now."""
    if not workspace.shared_files.exists():
        return
    going = {path for one in found for path in one.paths}
    staying = {sha256 for folder in _step_folders(workspace) if folder not in going for sha256 in listed(folder)}
    links = Counter(file.lstat().st_ino for one in found for file in _files_of(one))
    for path in sorted(workspace.shared_files.iterdir()):
        # Also of base models and of what is being made, where files are links.
        others = path.lstat().st_nlink - 1 - links[path.lstat().st_ino]
        if SHA256.fullmatch(path.name) and path.name not in staying and others <= 0:
            yield _garbage(workspace, path, "shared by folders that are no more", partial(_remove_files, [path]))


def _receipts(workspace: Workspace, found: list[Garbage]) -> Iterator[Garbage]:
    """Receipts that hold no more, since something goes that they rest on: without one a run looks for itself."""
    going = {path for one in found for path in one.paths}
    for path in sorted((workspace.artifacts / "runs").glob(f"*{RECEIPT}")):
        try:
            files = read_receipt(path).files
        except (OSError, ValueError, KeyError, TypeError):
            why = "a damaged receipt"
        else:
            places = {workspace.root / place.path for place, noted in files.items() if noted is not None}
            if places.isdisjoint(going) and all(place.exists() for place in places):
                continue
            why = "the receipt of a run whose steps are no more"
        yield _garbage(workspace, path, why, partial(_remove_files, [path]))


def _notes(workspace: Workspace, uses: list[Use], needs: Needs) -> Iterator[Garbage]:
    paths = [use.path for use in uses if use not in needs.uses]
    paths += [lock for path in paths if (lock := path.with_suffix(".lock")).exists()]
    if paths:
        what = paths[0].parent.relative_to(workspace.root).as_posix()
        yield Garbage(what, "notes of earlier runs", tuple(paths), partial(_remove_files, paths))


def _garbage(workspace: Workspace, path: Path, why: str, remove: Callable[[], bool]) -> Garbage:
    return Garbage(path.relative_to(workspace.root).as_posix(), why, (path,), remove)


def _remove_files(paths: list[Path]) -> bool:
    for path in paths:
        path.unlink(missing_ok=True)
    return True
