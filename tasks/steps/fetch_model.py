"""Step 2, fetch_model: the base model that the lock names, in a store that goes by digest, every byte verified."""

import hashlib
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from prefect import task
from prefect.cache_policies import NO_CACHE

from graftline.base_models.allowed_files import check_names
from graftline.base_models.lock import (
    LockedFile,
    LockedModel,
    check_file,
    check_folder,
    describe_folder,
    parse_lock,
    print_lock,
)
from graftline.digests import file_sha256
from graftline.errors import BaseModelRefusedError
from graftline.files import sync_folder, write_atomically
from graftline.tasks.base_models.sources import Source, SourceFile, SourceUnavailableError, open_source, parse_uri
from graftline.tasks.step_folders import Outcome, Workspace

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

LOG = logging.getLogger("graftline.fetch_model")
LOCK_FILE = "base_models.lock"
# A server that restarts is back within a minute.
RETRY_DELAYS_SECONDS = [2.0, 10.0, 30.0]
SOURCE_DIFFERS = (
    "the source is not what was locked: restore it, or, if the change is intended, run `graftline lock` and review"
    f" the difference in {LOCK_FILE}"
)


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


def is_unavailable(_task: object, _run: object, state: "State[Any]") -> bool:
    """Whether a failed try is worth another: only a lost connection is, a refusal stays one."""
    return isinstance(state.data, SourceUnavailableError)


@task(
    name="2 fetch_model",
    retries=len(RETRY_DELAYS_SECONDS),
    retry_delay_seconds=RETRY_DELAYS_SECONDS,
    retry_condition_fn=is_unavailable,
    persist_result=False,
    cache_policy=NO_CACHE,
)
def fetch_model(workspace: Workspace, uri: str) -> BaseModel:
    """Bring the locked base model into the store, or verify the one that is there.

    A broken download goes on where it stopped. Processes that want the same model wait for one download.
    Raises: BaseModelRefusedError if any byte differs from the lock; SourceUnavailableError, which is worth a retry.
    """
    locked = _locked(workspace, uri)
    store = _store(workspace)
    folder = store / locked.digest
    with FileLock(store / f".{locked.digest}.lock"):
        outcome: Outcome = "reused" if folder.exists() else "ran"
        if outcome == "ran":
            _download(workspace, uri, locked, folder)
    model = BaseModel(
        uri, locked.revision, locked.digest, folder, locked.licence, locked.bytes, files=locked.files, outcome=outcome
    )
    verify_base_model(model)
    return model


def verify_base_model(model: BaseModel) -> None:
    """Check every byte of a stored model: to be called right before it is loaded. Raises: BaseModelRefusedError."""
    next_step = f"the stored copy was changed: delete {model.path} and run again"
    check_folder(model.path, model.uri, files=model.files, next_step=next_step)
    LOG.info("verified %s: %d files, %.1f MB, %s", model.uri, len(model.files), model.bytes / 1e6, model.digest[:12])


def lock_model(workspace: Workspace, uri: str) -> LockedModel:
    """Write what the base model consists of now into `base_models.lock`, and keep its files in the store.

    Entries of other models stay. Raises: BaseModelRefusedError if the model may run code; then nothing is written.
    """
    store = _store(workspace)
    partial = store / f".locking-{hashlib.sha256(uri.encode()).hexdigest()[:32]}"
    with FileLock(f"{partial}.lock"):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            locked = _take_stock(workspace, uri, partial)
            _keep(partial, store / locked.digest)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    with FileLock(store / ".lock"):
        path = workspace.root / LOCK_FILE
        write_atomically(path, print_lock({**_read_lock(path), uri: locked}))
    return locked


def _locked(workspace: Workspace, uri: str) -> LockedModel:
    path = workspace.root / LOCK_FILE
    models = _read_lock(path)
    if uri in models:
        return models[uri]
    parse_uri(uri)  # a mistyped uri is a fault of the settings, which locking would not mend
    raise BaseModelRefusedError(
        f"{path}: has no entry for base_model.uri {uri}, only for {', '.join(sorted(models)) or 'none'};"
        " run `graftline lock` and commit the file, so that every run starts from the same bytes"
    )


def _read_lock(path: Path) -> dict[str, LockedModel]:
    return parse_lock(path.read_text(encoding="utf-8"), source=str(path)) if path.exists() else {}


def _download(workspace: Workspace, uri: str, locked: LockedModel, folder: Path) -> None:
    """Fetch what the lock names into a partial folder, which a killed run leaves to the next, and rename it."""
    partial = folder.with_name(f".{locked.digest}.partial")
    LOG.info("fetching %s at %s: %d files, %.1f MB", uri, locked.revision, len(locked.files), locked.bytes / 1e6)
    try:
        with open_source(workspace, uri, locked.revision) as source:
            for file in locked.files:
                _fetch_file(source, file, partial / file.path, where=uri)
        check_folder(partial, uri, files=locked.files, next_step=SOURCE_DIFFERS)
    except BaseModelRefusedError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(folder)
    sync_folder(folder.parent)


def _fetch_file(source: Source, file: LockedFile, target: Path, *, where: str) -> None:
    """Fetch one file, going on where an earlier try stopped; what that left is only trusted if the whole is right."""
    offered = SourceFile(file.path, file.bytes, file.version)
    resumed = target.exists()
    _append(source, offered, target, where=where)
    if resumed and file_sha256(target) != file.sha256:
        LOG.warning("%s: what an earlier run left of %s is not usable, fetching it again", where, file.path)
        target.unlink()
        _append(source, offered, target, where=where)
    check_file(target, file, where, next_step=SOURCE_DIFFERS)


def _append(source: Source, file: SourceFile, target: Path, *, where: str) -> None:
    """Read on until the file is as long as it should be. A source that ends early is asked again while it gives more.

    Raises: BaseModelRefusedError if it ends early without giving more, or goes on past the end.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("ab") as opened:
        while (offset := opened.tell()) < file.bytes:
            for chunk in source.read(file, offset):
                opened.write(chunk)
                if opened.tell() > file.bytes:
                    raise _wrong_length(where, file, f"goes on after {file.bytes} bytes")
            if opened.tell() == offset:
                raise _wrong_length(where, file, f"ends after {offset} bytes")
        opened.flush()
        os.fsync(opened.fileno())


def _wrong_length(where: str, file: SourceFile, got: str) -> BaseModelRefusedError:
    return BaseModelRefusedError(f"{where}: {file.path} {got}, expected {file.bytes}; {SOURCE_DIFFERS}")


def _take_stock(workspace: Workspace, uri: str, partial: Path) -> LockedModel:
    """Copy what the source offers now into `partial` and describe it."""
    with open_source(workspace, uri) as source:
        offered = source.list_files()
        check_names([file.path for file in offered], uri)
        for file in offered:
            _append(source, file, partial / file.path, where=uri)
        return describe_folder(
            partial,
            uri,
            revision=source.revision,
            licence=source.licence,
            versions={file.path: file.version for file in offered},
        )


def _keep(partial: Path, folder: Path) -> None:
    """Move a model that was just described into the store, unless one with the same digest is there."""
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.exists():
            partial.rename(folder)
            sync_folder(folder.parent)


def _store(workspace: Workspace) -> Path:
    store = workspace.artifacts / "base_models"
    store.mkdir(parents=True, exist_ok=True)
    return store
