"""Pinning a base model: its files, sizes and digests in base_models.lock."""

import hashlib
import shutil
from pathlib import Path

from filelock import FileLock

from graftline.base_models.allowed_files import check_names
from graftline.base_models.lock import LockedModel, describe_folder, parse_lock, print_lock
from graftline.base_models.vocabulary import check_vocabulary
from graftline.errors import BaseModelRefusedError
from graftline.files import write_atomically
from graftline.tasks.base_models.sources import open_source, parse_uri
from graftline.tasks.base_models.store import LOCK_FILE, Fetched, keep, read_on, store_of
from graftline.tasks.workspace import Workspace


def lock_model(workspace: Workspace, uri: str) -> LockedModel:
    """Write what the base model consists of now into `base_models.lock`, and keep its files in the store.

    Entries of other models stay. Raises: BaseModelRefusedError if the model may run code; then nothing is written.
    """
    store = store_of(workspace)
    partial = store / f".locking-{hashlib.sha256(uri.encode()).hexdigest()[:32]}"
    with FileLock(f"{partial}.lock"):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            locked = _take_stock(workspace, uri, partial)
            _keep(workspace, partial, locked, store / locked.digest)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    with FileLock(store / ".lock"):
        path = workspace.root / LOCK_FILE
        write_atomically(path, print_lock({**_read_lock(path), uri: locked}))
    return locked


def locked_model(workspace: Workspace, uri: str, *, setting: str = "base_model.uri") -> LockedModel:
    """What the lock says of a model. Raises: BaseModelRefusedError, naming the setting, if it says nothing."""
    path = workspace.root / LOCK_FILE
    models = _read_lock(path)
    if uri in models:
        return models[uri]
    parse_uri(uri)  # a mistyped uri is a fault of the settings, which locking would not mend
    raise BaseModelRefusedError(
        f"{path}: has no entry for {setting} {uri}, only for {', '.join(sorted(models)) or 'none'};"
        " run `graftline lock` and commit the file, so that every run starts from the same bytes"
    )


def locked_uris(workspace: Workspace) -> list[str]:
    """The base models that a run may start from."""
    return list(_read_lock(workspace.root / LOCK_FILE))


def _read_lock(path: Path) -> dict[str, LockedModel]:
    return parse_lock(path.read_text(encoding="utf-8"), source=str(path)) if path.exists() else {}


def _take_stock(workspace: Workspace, uri: str, partial: Path) -> LockedModel:
    """Copy what the source offers now into `partial` and describe it."""
    with open_source(workspace, uri) as source:
        offered = source.list_files()
        check_names([file.path for file in offered], uri)
        fetched = Fetched(sum(file.bytes for file in offered))
        for file in offered:
            read_on(source, file, partial / file.path, where=uri, told=fetched.tell)
            fetched.add(file.bytes)
        described = describe_folder(
            partial,
            uri,
            revision=source.revision,
            licence=source.licence,
            versions={file.path: file.version for file in offered},
        )
    check_vocabulary(partial, uri)
    return described


def _keep(workspace: Workspace, partial: Path, locked: LockedModel, folder: Path) -> None:
    """Move a model that was just described into the store, unless one with the same digest is there."""
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.exists():
            keep(workspace, partial, locked, folder)
