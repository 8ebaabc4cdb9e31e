"""The data on disk: which files a run reads, and their digests."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.digests import CHUNK_BYTES, file_sha256, json_sha256
from graftline.errors import SettingsError
from graftline.files import files_below
from graftline.settings import DATA_FOLDER, DataSettings, Kind
from graftline.tasks.data.dvc_folder import objects_folder
from graftline.tasks.workspace import Workspace


@dataclass(frozen=True)
class DataVersion:
    """Which data a run uses: the version that its .dvc file names, and whether the files are really that."""

    version: str
    """The MD5 by which DVC names the folder's content."""
    modified: bool
    differing: tuple[str, ...]
    """The files that differ from the version, each with how: `reviews.csv (modified)`."""
    sha256: str
    """The SHA-256 of all that the rows are read from: the table; for images and sounds all of the folder as well."""
    table: Path
    """Where the table lies, or the folder of class folders."""
    folder: str = DATA_FOLDER
    """The folder of the project whose content has the version."""


def rows_sha256(folder: Path, table: Path, kind: Kind) -> str:
    """The digest of all that the rows are read from, as it lies there now."""
    return digest_of_rows(table, kind, {} if kind == "text" else files_with_md5(folder))


def digest_of_rows(table: Path, kind: Kind, found: Mapping[str, str]) -> str:
    """The same, where the files in the folder and their MD5s are known already."""
    if kind == "text":
        return file_sha256(table)
    # By the MD5s that DVC needs anyway: reading all the files once more would take minutes. What is learned from is
    # checked against the SHA-256 of each file, which validate_data writes down.
    files: dict[str, JsonValue] = {ascii(name): md5 for name, md5 in found.items()}
    return json_sha256({"table": file_sha256(table) if table.is_file() else None, "files": files})


def table_path(workspace: Workspace, settings: DataSettings, *, name: str = "data.path") -> Path:
    """Where the table lies, or the folder of class folders; `name` is the setting that says so.

    Raises: SettingsError if that is outside the project folder, or a folder where it cannot be one.
    """
    path = workspace.root / settings.path
    if path.is_dir():
        _check_folder(workspace, path, settings, name)
    if not leads_to(path, workspace.root) and not leads_to(path, objects_folder(workspace.root)):
        raise SettingsError(
            f"{name}: {settings.path!r} lies outside the project folder, expected a path below it;"
            f" copy the table into {DATA_FOLDER}/"
        )
    return path


def _check_folder(workspace: Workspace, folder: Path, settings: DataSettings, name: str) -> None:
    if settings.kind == "text":
        raise SettingsError(
            f"{name}: {settings.path!r} is a folder, expected a table for data.kind text;"
            " name the table in it, or set data.kind to image or audio"
        )
    if not TASKS[settings.task].targets.names_folders:
        raise SettingsError(
            f"{name}: {settings.path!r} is a folder of class folders, which names one label for each file,"
            f" but data.task is {settings.task}; put paths and targets into a table"
        )
    named = {
        "targets": ", ".join(target.name for target in settings.further),
        "id": settings.id,
        "group": settings.group,
        "slices": ", ".join(settings.slices),
    }
    if columns := [f"data.{role} ({column})" for role, column in named.items() if column]:
        raise SettingsError(
            f"{name}: {settings.path!r} is a folder and has no columns for {' and '.join(columns)};"
            " leave them empty, or put paths and columns into a table"
        )
    if not leads_to(folder, workspace.root / settings.folder):
        raise SettingsError(
            f"{name}: {settings.path!r} is a folder outside {settings.folder}/, expected one below it; move it there"
        )


def leads_to(path: Path, folder: Path) -> bool:
    """Whether a path, whatever links it goes through, ends in a folder."""
    return path.resolve().is_relative_to(folder.resolve())


def files_with_md5(folder: Path) -> dict[str, str]:
    """The files in a folder by relative path, each with its MD5."""
    return {path.relative_to(folder).as_posix(): md5_of(path) for path in files_below(folder) if path.is_file()}


def version_of_files(found: Mapping[str, str]) -> str:
    """The version that DVC would give a folder of these files."""
    # As DVC digests a folder: entries by path, as json.dumps writes them.
    entries = [{"md5": found[name], "relpath": name} for name in sorted(found)]
    return hashlib.md5(json.dumps(entries).encode(), usedforsecurity=False).hexdigest()


def md5_of(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
