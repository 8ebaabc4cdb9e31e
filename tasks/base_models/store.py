"""The store of base models: every file under its digest, downloaded once, checked at every use."""

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from graftline.base_models.lock import LockedFile, LockedModel, check_file, check_folder
from graftline.base_models.vocabulary import check_vocabulary
from graftline.digests import file_sha256
from graftline.errors import BaseModelRefusedError
from graftline.files import sync_folder
from graftline.tasks.base_models.sources import Source, SourceFile, open_source
from graftline.tasks.pace import at_pace
from graftline.tasks.progress import Wait
from graftline.tasks.shared_files import give_back, share
from graftline.tasks.step_folders import Outcome
from graftline.tasks.workspace import Workspace

LOCK_FILE = "base_models.lock"
MEGABYTE = 1_000_000
SOURCE_DIFFERS = (
    "the source is not what was locked: restore it, or, if the change is intended, run `graftline lock` and review"
    f" the difference in {LOCK_FILE}"
)

logger = logging.getLogger("graftline.fetch_model")


@dataclass(frozen=True)
class BaseModel:
    """A verified base model: `path` holds exactly `files`."""

    uri: str
    revision: str
    digest: str
    path: Path
    licence: str
    bytes: int
    files: tuple[LockedFile, ...]
    outcome: Outcome


def verify_base_model(model: BaseModel) -> None:
    """Check every byte of a stored model: to be called right before it is loaded. Raises: BaseModelRefusedError."""
    next_step = "the stored copy was changed: run again, which fetches what is damaged anew"
    check_folder(model.path, model.uri, files=model.files, next_step=next_step)
    logger.info("verified %s: %d files, %.1f MB, %s", model.uri, len(model.files), model.bytes / 1e6, model.digest[:12])


def download(workspace: Workspace, uri: str, locked: LockedModel, folder: Path) -> None:
    """Fetch what the lock names into a partial folder, which a killed run leaves to the next, and rename it."""
    partial = partial_of(folder)
    if partial.exists():
        give_back(partial)
    logger.info("fetching %s at %s: %d files, %.1f MB", uri, locked.revision, len(locked.files), locked.bytes / 1e6)
    try:
        with open_source(workspace, uri, locked.revision) as source:
            fetched = Fetched(locked.bytes)
            for file in locked.files:
                _fetch_file(source, file, partial / file.path, where=uri, told=fetched.tell)
                fetched.add(file.bytes)
        check_folder(partial, uri, files=locked.files, next_step=SOURCE_DIFFERS)
        check_vocabulary(partial, uri)
    except BaseModelRefusedError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    keep(workspace, partial, locked, folder)


def keep(workspace: Workspace, partial: Path, locked: LockedModel, folder: Path) -> None:
    """Give a checked model its final name."""
    share(workspace.shared_files, {partial / file.path: file.sha256 for file in locked.files})
    partial.rename(folder)
    sync_folder(folder.parent)


def put_back(folder: Path, locked: LockedModel) -> None:
    """Make the whole files of a damaged stored model an unfinished download, which lacks the others.

    What else lies in the folder, such as a file that somebody put there, is set aside: it is not for us to remove.
    """
    aside, partial = folder.with_name(f".{folder.name}.damaged"), partial_of(folder)
    for old in (aside, partial):
        shutil.rmtree(old, ignore_errors=True)
    folder.rename(aside)
    for file in locked.files:
        path = aside / file.path
        if not path.is_symlink() and path.is_file() and file_sha256(path) == file.sha256:
            (partial / file.path).parent.mkdir(parents=True, exist_ok=True)
            path.rename(partial / file.path)
        else:
            logger.warning("%s: was damaged since it was stored; it is fetched again", folder / file.path)
            if path.is_symlink() or path.is_file():
                path.unlink()
    if any(path.is_symlink() or not path.is_dir() for path in [aside, *aside.rglob("*")]):
        logger.warning("%s: what does not belong to the base model is set aside here", aside)
    else:
        shutil.rmtree(aside)


def partial_of(folder: Path) -> Path:
    """Where a download goes until it is whole."""
    return folder.with_name(f".{folder.name}.partial")


class Fetched:
    """How much of a base model's files is here."""

    def __init__(self, total: int) -> None:
        self._total, self._whole = total, 0
        self._wait = Wait("fetching the base model", unit="MB", of=MEGABYTE)

    def add(self, whole: int) -> None:
        """A file of so many bytes is here."""
        self._whole += whole

    def tell(self, part: int) -> None:
        """So many bytes of the next file are here."""
        self._wait.tell(self._whole + part, self._total)


def _fetch_file(source: Source, file: LockedFile, target: Path, *, where: str, told: Callable[[int], None]) -> None:
    """Fetch one file, going on where an earlier try stopped; what that left is only trusted if the whole is right."""
    offered = SourceFile(file.path, file.bytes, file.version)
    resumed = target.exists()
    read_on(source, offered, target, where=where, told=told)
    if resumed and file_sha256(target) != file.sha256:
        logger.warning("%s: what an earlier run left of %s is not usable, fetching it again", where, file.path)
        target.unlink()
        read_on(source, offered, target, where=where, told=told)
    check_file(target, file, where, next_step=SOURCE_DIFFERS)


def read_on(source: Source, file: SourceFile, target: Path, *, where: str, told: Callable[[int], None]) -> None:
    """Read on until the file is as long as it should be. A source that ends early is asked again while it gives more.

    `told` hears how many bytes are there.
    Raises: SourceUnavailableError if it all but stands still; BaseModelRefusedError if it ends early without giving
    more, or goes on past the end.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("ab") as opened:
        while (offset := opened.tell()) < file.bytes:
            for chunk in at_pace(source.read(file, offset), f"{where}: {file.path}"):
                opened.write(chunk)
                told(opened.tell())
                if opened.tell() > file.bytes:
                    raise _wrong_length(where, file, f"goes on after {file.bytes} bytes")
            if opened.tell() == offset:
                raise _wrong_length(where, file, f"ends after {offset} bytes")
        opened.flush()
        os.fsync(opened.fileno())


def _wrong_length(where: str, file: SourceFile, got: str) -> BaseModelRefusedError:
    return BaseModelRefusedError(f"{where}: {file.path} {got}, expected {file.bytes}; {SOURCE_DIFFERS}")


def store_of(workspace: Workspace) -> Path:
    store = workspace.artifacts / "base_models"
    store.mkdir(parents=True, exist_ok=True)
    return store
