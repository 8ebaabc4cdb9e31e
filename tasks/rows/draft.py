"""The next version of the data: written in a folder beside them, and put in their place in one move.

A kill at any moment leaves the old version or the new one: the .dvc file names one of them, DVC's cache holds both,
and `data_version` brings what the .dvc file names.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from filelock import FileLock, Timeout

from graftline.data.edited_tables import Edits, write_edited
from graftline.errors import DataRefusedError
from graftline.files import files_below, sync_folder, write_atomically
from graftline.settings import DataSettings
from graftline.tasks.data.dvc_folder import IGNORE, ignored_files, objects_folder, open_repo_beside
from graftline.tasks.data.files import DataVersion, files_with_md5, rows_sha256
from graftline.tasks.data.in_use import data_to_itself
from graftline.tasks.progress import waiting
from graftline.tasks.steps.data_version import named_version, pointer_of
from graftline.tasks.workspace import Workspace

LOCK = ".next_version.lock"
BEFORE = "before"


@dataclass(frozen=True)
class Draft:
    """A copy of the data in which rows can be changed."""

    workspace: Workspace
    settings: DataSettings
    version: DataVersion
    """That it is a copy of."""
    place: Path
    """The folder that it lies in, which is gone afterwards."""

    @property
    def old(self) -> Path:
        return self.workspace.root / self.settings.folder

    @property
    def data(self) -> Path:
        return self.place / self.settings.folder

    @property
    def table(self) -> Path:
        """The table in the copy, or the folder of class folders."""
        return self.data / self.version.table.relative_to(self.old)

    def reset(self) -> None:
        """Make it the data as they are. Files are links to theirs, and replaced where they change."""
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir()
        for path in files_below(self.old):
            target = self.data / path.relative_to(self.old)
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(path, target)

    def edit_table(self, edits: Edits) -> None:
        """Write the table with these edits. Raises: what `write_edited` raises."""
        self.table.unlink()
        write_edited(self.version.table, self.table, edits)

    def write_file(self, name: str, content: bytes) -> None:
        """Write a file below the copy."""
        target = self.data / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        write_atomically(target, content)

    def move_file(self, name: str, new_name: str) -> None:
        (self.data / new_name).parent.mkdir(parents=True, exist_ok=True)
        (self.data / name).rename(self.data / new_name)

    def remove_file(self, name: str) -> None:
        (self.data / name).unlink()

    def holds(self, name: str) -> bool:
        return os.path.lexists(self.data / name)


def fault_of_name(name: str) -> str | None:
    """Why a text is no name of a file that may be written below the data, or None."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        return "no path below the data's folder: it is absolute, or holds .. or NUL"
    if any(part.startswith(".") for part in path.parts):
        return "a hidden file's name"
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return "no name that a file can have"
    return None


@contextmanager
def drafted(workspace: Workspace, settings: DataSettings, version: DataVersion) -> Iterator[Draft]:
    """A copy of the data, which must be a version whole; what a killed command left is removed first.

    Raises: DataRefusedError if another command makes the next version now, or if the data's folder cannot be replaced.
    """
    root = workspace.root
    _require_replaceable(root, settings.folder)
    place = root / f".{settings.folder}.next"
    workspace.artifacts.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(workspace.artifacts / LOCK, timeout=0):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            (place / ".gitignore").write_text("*\n")
            if (root / IGNORE).is_file():
                shutil.copyfile(root / IGNORE, place / IGNORE)
            draft = Draft(workspace, settings, version, place)
            try:
                draft.reset()
                _keep_old(draft)
                yield draft
            finally:
                shutil.rmtree(place, ignore_errors=True)
    except Timeout:
        raise DataRefusedError(
            f"{settings.folder}/: another command makes the next version now; do it again when that has ended"
        ) from None


def put_in_place(draft: Draft, note: Callable[[str], None]) -> str:
    """Make the draft the data's version: saved in DVC's cache, named by the .dvc file, and in the folder's place.

    `note` is told its name before anything says it. Returns: the version.
    Raises: DataRefusedError if a run reads the data now, or somebody has changed them meanwhile.
    """
    root, name = draft.workspace.root, draft.settings.folder
    pointer = root / pointer_of(name)
    added = _dvc_add(draft)
    version = str(added["md5"]).removesuffix(".dir")
    _sync(draft, version)
    with data_to_itself(draft.workspace):
        text = pointer.read_text(encoding="utf-8")
        unchanged = rows_sha256(draft.old, draft.version.table, draft.settings.kind) == draft.version.sha256
        if not unchanged or named_version(pointer, name) != draft.version.version:
            raise DataRefusedError(f"{name}/: the data have changed since they were looked at; do it again")
        note(version)
        # From here on the new version counts: it lies in the cache, and whoever comes next brings it.
        write_atomically(pointer, _pointing_to(text, name, draft.version.version, added))
        draft.old.rename(draft.place / BEFORE)
        draft.data.rename(draft.old)
        sync_folder(root)
    return version


def _require_replaceable(root: Path, folder: str) -> None:
    pointer, data = root / pointer_of(folder), root / folder
    if "deps" in yaml.safe_load(pointer.read_text(encoding="utf-8")):
        raise DataRefusedError(
            f"{pointer.name}: names where {folder}/ was imported from, which would no longer be true; `dvc unfreeze` or"
            f" `dvc add {folder}` makes it a version of its own"
        )
    if data.is_symlink() or data.stat().st_dev != root.stat().st_dev:
        raise DataRefusedError(
            f"{folder}/: is a link or lies on another disk, expected a folder of the project, which can be replaced in"
            " one move; move it here"
        )


def _link(path: Path, target: Path) -> None:
    if path.is_symlink():  # into DVC's cache, as its setting cache.type says
        shutil.copyfile(path, target)
        return
    try:
        os.link(path, target)
    except OSError:  # a file system without links
        shutil.copy2(path, target)


def _keep_old(draft: Draft) -> None:
    """Save the data as they are in DVC's cache, if anything of them is not there."""
    objects = objects_folder(draft.workspace.root)
    listing = _listing(objects, draft.version.version)
    if listing is not None and all(_cached(objects, md5).is_file() for md5 in listing.values()):
        return
    saved = _dvc_add(draft)
    if saved["md5"] != f"{draft.version.version}.dir":
        raise DataRefusedError(
            f"{draft.settings.folder}/: DVC gives it another version than its .dvc file; see what `dvc status` says"
        )
    draft.reset()


def _dvc_add(draft: Draft) -> dict[str, Any]:
    """Save the draft in the cache of the project by `dvc add`. Returns: what the .dvc file says of it."""
    from dvc.exceptions import DvcException

    logging.getLogger("dvc").setLevel(logging.WARNING)
    root, name = draft.workspace.root, draft.settings.folder
    try:
        with waiting(f"dvc add {name}"), open_repo_beside(root, draft.place) as repo:
            repo.add([str(draft.data.resolve())])
    except (DvcException, OSError) as error:
        raise DataRefusedError(
            f"{name}/: `dvc add` of the next version refuses ({' '.join(str(error).split())}); nothing was changed"
        ) from None
    (out,) = yaml.safe_load((draft.place / pointer_of(name)).read_text(encoding="utf-8"))["outs"]
    return dict(out)


def _sync(draft: Draft, version: str) -> None:
    """Make what the cache holds of the version durable, after a look whether it is all of it."""
    objects = objects_folder(draft.workspace.root)
    listing, before = _listing(objects, version), _listing(objects, draft.version.version) or {}
    found = files_with_md5(draft.data)
    ignored = ignored_files(draft.place, draft.data, found)
    if listing != {name: md5 for name, md5 in found.items() if name not in ignored}:
        raise DataRefusedError(f"{objects}: does not hold the next version as it was written; nothing was changed")
    for md5 in {f"{version}.dir", *(set(listing.values()) - set(before.values()))}:
        with _cached(objects, md5).open("rb") as file:
            os.fsync(file.fileno())
        sync_folder(_cached(objects, md5).parent)
    sync_folder(objects)
    sync_folder(draft.table.parent)


def _listing(objects: Path, version: str) -> dict[str, str] | None:
    """The files of a version with their MD5s, if the cache knows it."""
    path = _cached(objects, f"{version}.dir")
    if not path.is_file():
        return None
    return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}


def _cached(objects: Path, md5: str) -> Path:
    return objects / md5[:2] / md5[2:]


def _pointing_to(text: str, folder: str, before: str, added: dict[str, Any]) -> str:
    """The .dvc file with another version, and all else that a person has written into it."""
    told = text.replace(f"{before}.dir", str(added["md5"]))
    for key in ("size", "nfiles"):
        told = re.sub(rf"^(\s*-?\s*{key}:) \d+$", rf"\1 {added[key]}", told, flags=re.MULTILINE)
    wanted = yaml.safe_load(text)
    for out in wanted["outs"]:
        out.update({key: added[key] for key in ("md5", "size", "nfiles")} if out["path"] == folder else {})
    # Where the text has another form, as without a size, its comments are lost, and nothing else.
    return told if yaml.safe_load(told) == wanted else yaml.safe_dump(wanted, sort_keys=False)
