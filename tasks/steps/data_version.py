"""Before step 1, data_version: make sure that data/ holds exactly the version of the data that data.dvc names."""

import json
import logging
import re
from pathlib import Path
from typing import Literal

import yaml
from prefect import task
from prefect.cache_policies import NO_CACHE

from graftline.errors import DataRefusedError
from graftline.settings import DataSettings
from graftline.tasks.data.files import DATA_FOLDER, DataVersion, digest_of_rows, files_with_md5, md5_of, table_path
from graftline.tasks.workspace import Workspace

POINTER = "data.dvc"
# The name of a version that data.dvc does not name; only data.allow_modified lets it pass.
UNVERSIONED = "unversioned"
NEXT_STEP = (
    "discard the changes with `dvc checkout data.dvc`, make a new version with `dvc add data`,"
    " or run all the same with --set data.allow_modified=true (recorded; bars promotion)"
)
SHOWN_FILES = 10

logger = logging.getLogger("graftline.data_version")

Difference = Literal["modified", "added", "missing"]


@task(name="data_version", persist_result=False, cache_policy=NO_CACHE)
def data_version(workspace: Workspace, settings: DataSettings) -> DataVersion:
    """Bring the version that data.dvc names into data/ and say which it is.

    A file that no saved version holds is never overwritten.
    Raises: SettingsError if data.path leaves the project folder; DataRefusedError if the files differ from the
    version and data.allow_modified is off, or if the version cannot be had unharmed.
    """
    table = table_path(workspace, settings)
    version, found, differing = _bring_version(workspace, settings)
    differing += _outside_the_version(workspace, table)
    if differing and not settings.allow_modified:
        shown = ", ".join(differing[:SHOWN_FILES]) + (", ..." if len(differing) > SHOWN_FILES else "")
        raise DataRefusedError(
            f"{DATA_FOLDER}/: {len(differing)} files differ from version {version} that {POINTER} names: {shown};"
            f" {NEXT_STEP}"
        )
    if not table.is_file() and not table.is_dir():
        raise DataRefusedError(f"{table}: there is no such table or folder; correct data.path or run `dvc pull`")
    return DataVersion(version, bool(differing), tuple(differing), digest_of_rows(table, settings.kind, found), table)


def _bring_version(workspace: Workspace, settings: DataSettings) -> tuple[str, dict[str, str], list[str]]:
    """The version, the files in data/ with their MD5s, and those that differ."""
    if not (workspace.root / POINTER).is_file():
        if settings.allow_modified:
            return UNVERSIONED, files_with_md5(workspace), [f"{POINTER} (missing)"]
        raise DataRefusedError(
            f"{workspace.root / POINTER}: there is no such file, so the data has no version;"
            " make one with `dvc add data` and commit data.dvc, or use --set data.allow_modified=true"
        )
    version = _named_version(workspace.root / POINTER)
    found = files_with_md5(workspace)
    wanted = _listing(workspace, version)
    if wanted is None or (wanted != found and _may_be_replaced(workspace, wanted, found)):
        wanted = _fetch(workspace, version)
        found = files_with_md5(workspace)
        if wanted != found and _may_be_replaced(workspace, wanted, found):
            _checkout(workspace, version)
            found = files_with_md5(workspace)
            if wanted != found:
                raise DataRefusedError(
                    f"{DATA_FOLDER}/: after a checkout of version {version} these files still differ:"
                    f" {', '.join(_differences(wanted, found))}; remove .dvc/cache and run `dvc pull`"
                )
    return version, found, _differences(wanted, found)


def _named_version(pointer: Path) -> str:
    try:
        outs = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"]
        (md5,) = [out["md5"] for out in outs if out["path"] == DATA_FOLDER]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        md5 = None
    if not isinstance(md5, str) or not re.fullmatch(r"[0-9a-f]{32}\.dir", md5):
        raise DataRefusedError(
            f"{pointer}: names no version of the folder {DATA_FOLDER}/, expected what `dvc add data` writes;"
            f" restore it with `git checkout {POINTER}`"
        )
    return md5.removesuffix(".dir")


def _listing(workspace: Workspace, version: str) -> dict[str, str] | None:
    """The version's files, each with its MD5, or None if the cache does not hold the listing."""
    path = _cached(workspace, f"{version}.dir")
    if not path.is_file():
        return None
    _check_cached(path, version)
    return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}


def _may_be_replaced(workspace: Workspace, wanted: dict[str, str], found: dict[str, str]) -> bool:
    """Whether every file that a checkout would change or remove is saved in the cache."""
    return all(
        wanted.get(name) == md5 or (_cached(workspace, md5).is_file() and md5_of(_cached(workspace, md5)) == md5)
        for name, md5 in found.items()
    )


def _fetch(workspace: Workspace, version: str) -> dict[str, str]:
    """Bring the version's objects into the cache and check each. Nothing is imported if they are all there."""
    listing = _listing(workspace, version)
    if listing is None or not all(_cached(workspace, md5).is_file() for md5 in listing.values()):
        logger.info("fetching version %s of the data", version)
        _call_dvc(workspace, "fetch", version)
        listing = _listing(workspace, version)
    if listing is None:
        raise _not_to_be_had(version, "the remote does not hold its listing")
    for name, md5 in listing.items():
        if not _cached(workspace, md5).is_file():
            raise _not_to_be_had(version, f"the remote does not hold {name}")
        _check_cached(_cached(workspace, md5), md5)
    return listing


def _checkout(workspace: Workspace, version: str) -> None:
    logger.info("checking out version %s of the data", version)
    _call_dvc(workspace, "checkout", version)


def _call_dvc(workspace: Workspace, verb: Literal["fetch", "checkout"], version: str) -> None:
    # Imported here because it is slow and a run whose data is in place does without.
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    # DVC unpickles what it finds in this folder, and its default lies in a place shared with other users.
    private = workspace.root.resolve() / ".dvc" / "tmp" / "site_cache"
    private.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with Repo(str(workspace.root.resolve()), config={"core": {"site_cache_dir": str(private)}}) as repo:
            # Absolute: DVC looks for a relative target in the process's folder, which may be another project.
            getattr(repo, verb)(targets=[str((workspace.root / POINTER).resolve())])
    except (DvcException, OSError) as error:
        raise _not_to_be_had(version, str(error)) from None


def _not_to_be_had(version: str, why: str) -> DataRefusedError:
    return DataRefusedError(
        f"{POINTER}: version {version} is not to be had ({why}); expected it unharmed in the cache or the remote;"
        " try `dvc pull`, or `dvc push` where the version was made"
    )


def _cached(workspace: Workspace, name: str) -> Path:
    return workspace.root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]


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


def _outside_the_version(workspace: Workspace, table: Path) -> list[str]:
    """The table, where data.dvc has no say in what it holds."""
    if table.resolve().is_relative_to((workspace.root / DATA_FOLDER).resolve()):
        return []
    return [f"{table.relative_to(workspace.root).as_posix()} (not below {DATA_FOLDER}/)"]
