"""Before step 1, data_version: make sure that the data are exactly the version that their .dvc file names."""

import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import yaml

from graftline.data.class_folders import SUFFIXES
from graftline.errors import DataRefusedError
from graftline.settings import DataSettings, Kind
from graftline.tasks.data.dvc_folder import ignored_files, names_remote, objects_folder, open_repo
from graftline.tasks.data.dvc_pointers import how_to_restore, how_to_version
from graftline.tasks.data.fetching import NotFetchedError, fetch
from graftline.tasks.data.files import (
    DataVersion,
    digest_of_rows,
    files_with_md5,
    leads_to,
    md5_of,
    table_path,
    version_of_files,
)
from graftline.tasks.pace import SourceUnavailableError
from graftline.tasks.progress import waiting
from graftline.tasks.step import step
from graftline.tasks.workspace import Workspace

# The name of a version that no .dvc file names; only data.allow_modified lets it pass.
UNVERSIONED = "unversioned"
SHOWN_FILES = 10

logger = logging.getLogger("graftline.data_version")

Difference = Literal["modified", "added", "missing"]


@dataclass(frozen=True)
class _Folder:
    """The folder of the data, its .dvc file, and DVC's cache."""

    root: Path
    name: str
    objects: Path
    reads: Callable[[str], bool]
    """Whether rows may be read from a file of that name."""

    @property
    def path(self) -> Path:
        return self.root / self.name

    @property
    def pointer(self) -> str:
        return pointer_of(self.name)

    def files(self) -> dict[str, str]:
        """The files with their MD5s; those that DVC leaves out and no row is read from play no part."""
        found = files_with_md5(self.path)
        ignored = ignored_files(self.root, self.path, found)
        return {name: md5 for name, md5 in found.items() if name not in ignored or self.reads(name)}

    def cached(self, name: str) -> Path:
        return self.objects / name[:2] / name[2:]


def pointer_of(folder: str) -> str:
    """The file that names the version of a folder's content: data.dvc of data/."""
    return f"{folder}.dvc"


@step("data_version")
def data_version(workspace: Workspace, settings: DataSettings) -> DataVersion:
    """Bring the version that data.dvc names into data/ (or whatever folder data.path begins with) and say which it is.

    A file that no saved version holds is never overwritten.
    Raises: SettingsError if data.path leaves the project folder; DataRefusedError if the files differ from the
    version and data.allow_modified is off, or if the version cannot be had unharmed.
    """
    table = table_path(workspace, settings)
    reads = _reading_of(workspace.root / settings.folder, table, settings.kind)
    folder = _Folder(workspace.root, settings.folder, objects_folder(workspace.root), reads)
    version, found, differing = _bring_version(folder, table, allow_modified=settings.allow_modified)
    differing += _outside_the_version(folder, table)
    if differing and not settings.allow_modified:
        shown = ", ".join(differing[:SHOWN_FILES]) + (", ..." if len(differing) > SHOWN_FILES else "")
        way = f"{_ignored_among(folder, differing)}discard the changes with {_discard(folder, version)}"
        raise DataRefusedError(
            f"{folder.name}/: {len(differing)} files differ from version {version} that {folder.pointer} names:"
            f" {shown}; {way}, make a new version with `dvc add {folder.name}`, or run all the same with --set"
            " data.allow_modified=true (recorded; bars promotion)"
        )
    if not table.is_file() and not table.is_dir():
        raise DataRefusedError(f"{table}: there is no such table or folder; correct data.path or run `dvc pull`")
    sha256 = digest_of_rows(table, settings.kind, found if settings.kind == "text" else files_with_md5(folder.path))
    return DataVersion(version, bool(differing), tuple(differing), sha256, table, folder.name)


def _reading_of(folder: Path, table: Path, kind: Kind) -> Callable[[str], bool]:
    """Which files rows may be read from: the table, and of pictures and sounds all that is none of the hidden ones."""
    media = SUFFIXES[kind] if kind != "text" else ()

    def reads(name: str) -> bool:
        parts = PurePosixPath(name).parts
        is_hidden = any(part.startswith(".") for part in parts)
        return folder / name == table or (name.lower().endswith(media) and not is_hidden)

    return reads


def _ignored_among(folder: _Folder, differing: Sequence[str]) -> str:
    """What to do about files that rows are read from though DVC leaves them out: no command of DVC's changes them."""
    names = [one.removesuffix(" (added)") for one in differing if one.endswith(" (added)")]
    ignored = sorted(ignored_files(folder.root, folder.path, names))
    return f".dvcignore keeps {ignored[0]} out of every version: take it out of there, or move it; " if ignored else ""


def _discard(folder: _Folder, version: str) -> str:
    """The command that puts the version's files back; DVC removes others first, so it must have them."""
    checkout = f"dvc checkout --force {folder.pointer}"
    listing = _listing(folder, version) or {}
    has_all = listing and all(folder.cached(md5).is_file() for md5 in listing.values())
    return f"`{checkout}`" if has_all else f"`dvc fetch {folder.pointer} && {checkout}`"


def _bring_version(folder: _Folder, table: Path, *, allow_modified: bool) -> tuple[str, dict[str, str], list[str]]:
    """The version, the files in the folder with their MD5s, and those that differ."""
    pointer = folder.root / folder.pointer
    if not pointer.is_file():
        if allow_modified:
            return UNVERSIONED, folder.files(), [f"{folder.pointer} (missing)"]
        raise DataRefusedError(
            f"{pointer}: there is no such file, so the data has no version;"
            f" {how_to_version(folder.root, folder.name, table)}, or use --set data.allow_modified=true"
        )
    version = named_version(pointer, folder.name)
    found = folder.files()
    wanted = _listing(folder, version)
    if wanted is None and version_of_files(found) == version:
        return version, found, []  # neither the cache nor a remote is needed where the data are right
    if wanted is None or (wanted != found and _may_be_replaced(folder, wanted, found)):
        wanted = _fetch(folder, version)
        found = folder.files()
        if wanted != found and _may_be_replaced(folder, wanted, found):
            logger.info("checking out version %s of the data", version)
            _check_out(folder, version)
            found = folder.files()
            if wanted != found:
                still = _differences(wanted, found)
                raise DataRefusedError(
                    f"{folder.name}/: after a checkout of version {version} these files still differ:"
                    f" {', '.join(still)}; {_ignored_among(folder, still)}see what `dvc status {folder.pointer}` says"
                )
    return version, found, _differences(wanted, found)


def named_version(pointer: Path, folder: str) -> str:
    """The version of the folder that a .dvc file names. Raises: DataRefusedError if it names none."""
    if pointer.read_bytes().startswith(b"<<<<<<< ") or b"\n<<<<<<< " in pointer.read_bytes():
        raise DataRefusedError(
            f"{pointer}: holds two versions, between the marks of a merge that git left open; choose one by"
            f" `git checkout --ours {pointer.name}` or `--theirs`, then `git add {pointer.name}` and `dvc checkout`"
        )
    try:
        outs = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"]
        (md5,) = [out["md5"] for out in outs if out["path"] == folder]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        md5 = None
    if not isinstance(md5, str) or not re.fullmatch(r"[0-9a-f]{32}\.dir", md5):
        raise DataRefusedError(
            f"{pointer}: names no version of the folder {folder}/, expected what `dvc add {folder}` writes;"
            f" {how_to_restore(pointer, folder)}"
        )
    return md5.removesuffix(".dir")


def _listing(folder: _Folder, version: str) -> dict[str, str] | None:
    """The version's files, each with its MD5, or None if the cache does not hold the listing."""
    path = folder.cached(f"{version}.dir")
    if not path.is_file():
        return None
    _check_cached(path, version)
    return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}


def _may_be_replaced(folder: _Folder, wanted: dict[str, str], found: dict[str, str]) -> bool:
    """Whether every file that a checkout would change or remove is saved in the cache."""
    return all(
        wanted.get(name) == md5 or (folder.cached(md5).is_file() and md5_of(folder.cached(md5)) == md5)
        for name, md5 in found.items()
    )


def _fetch(folder: _Folder, version: str) -> dict[str, str]:
    """Bring the version's objects into the cache and check each. Nothing is imported if they are all there."""
    listing = _listing(folder, version)
    if listing is None or not all(folder.cached(md5).is_file() for md5 in listing.values()):
        logger.info("fetching version %s of the data", version)
        _bring_objects(folder, version)
        listing = _listing(folder, version)
    if listing is None:
        raise _not_to_be_had(folder, version, "the remote does not hold its listing")
    for name, md5 in listing.items():
        if not folder.cached(md5).is_file():
            raise _not_to_be_had(folder, version, f"the remote does not hold {name}")
        _check_cached(folder.cached(md5), md5)
    return listing


def _bring_objects(folder: _Folder, version: str) -> None:
    try:
        with waiting(f"dvc fetch {folder.pointer}"):
            fetch(folder.root, folder.root / folder.pointer)
    except (NotFetchedError, SourceUnavailableError) as error:
        raise _not_to_be_had(folder, version, str(error)) from None


def _check_out(folder: _Folder, version: str) -> None:
    from dvc.exceptions import DvcException

    try:
        with waiting(f"dvc checkout {folder.pointer}"), open_repo(folder.root) as repo:
            # Absolute: DVC looks for a relative target in the process's folder, which may be another project.
            repo.checkout(targets=[str((folder.root / folder.pointer).resolve())])
    except (DvcException, OSError) as error:
        raise _not_to_be_had(folder, version, str(error)) from None


def _not_to_be_had(folder: _Folder, version: str, why: str) -> DataRefusedError:
    if _is_of_dvc_2(folder):
        return DataRefusedError(
            f"{folder.pointer}: was written by DVC 2, which named versions and kept files in another way; run"
            f" `dvc pull` and `dvc cache migrate --dvc-files` once, where version {version} is at hand, and commit"
            f" {folder.pointer}"
        )
    advice = "run `dvc push` where the version was made, then again here"
    if not names_remote(folder.root):
        advice = "no remote is named: run `dvc remote add --default NAME ADDRESS` on both sides, and `dvc push` there"
    files = f", or keep what lies there as a new version with `dvc add {folder.name}`" if folder.path.is_dir() else ""
    return DataRefusedError(
        f"{folder.pointer}: version {version} is not to be had ({' '.join(why.split())}); expected it unharmed in the"
        f" cache ({folder.objects}) or the remote; {advice}{files}"
    )


def _is_of_dvc_2(folder: _Folder) -> bool:
    """Whether the .dvc file says of its output no hash's name, as all before DVC 3."""
    outs = yaml.safe_load((folder.root / folder.pointer).read_text(encoding="utf-8"))["outs"]
    return any(out["path"] == folder.name and "hash" not in out for out in outs)


def _check_cached(path: Path, md5: str) -> None:
    if (got := md5_of(path)) != md5:
        raise DataRefusedError(
            f"{path}: the content has MD5 {got}, expected {md5}: the stored object is damaged;"
            " remove this file, then run again to fetch it afresh"
        )


def _differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    kinds: dict[str, Difference] = {
        name: "added" if name not in wanted else "missing" if name not in found else "modified"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    }
    return [f"{name} ({kind})" for name, kind in kinds.items()]


def _outside_the_version(folder: _Folder, table: Path) -> list[str]:
    """The table, where the .dvc file has no say in what it holds."""
    # DVC may put links to its cache where the files were, if its setting cache.type says so.
    if leads_to(table.parent, folder.path) or table == folder.path:
        return []
    return [f"{table.relative_to(folder.root).as_posix()} (not below {folder.name}/)"]
