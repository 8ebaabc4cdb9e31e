"""The base models that a project may name: those of its lock, and those that installed packages bring."""

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from graftline.base_models.lock import UNKNOWN_LICENCE, card_licence, parse_lock
from graftline.files import files_below
from graftline.tasks.base_models.sources import installed_package
from graftline.tasks.base_models.store import LOCK_FILE
from graftline.tasks.workspace import Workspace

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class BaseModelListed:
    """A base model in a line."""

    uri: str
    revision: str
    licence: str
    bytes: int
    locked: bool


def base_models(workspace: Workspace) -> list[BaseModelListed]:
    """The locked ones, then those of packages that are not locked yet. Raises: BaseModelRefusedError for a bad lock."""
    path = workspace.root / LOCK_FILE
    locked = parse_lock(path.read_text(encoding="utf-8"), LOCK_FILE) if path.is_file() else {}
    listed = [BaseModelListed(uri, of.revision, of.licence, of.bytes, locked=True) for uri, of in locked.items()]
    return sorted(listed, key=lambda base: base.uri) + sorted(
        (base for base in _packaged() if base.uri not in locked), key=lambda base: base.uri
    )


def _packaged() -> Iterator[BaseModelListed]:
    """Folders of installed packages with a configuration and weights, by the lists of files that installers leave."""
    for package in importlib.metadata.distributions():
        # As text: to make paths of all lines of all packages takes seconds.
        names = {line.partition(",")[0] for line in (package.read_text("RECORD") or "").splitlines() if WEIGHTS in line}
        for folder in sorted({PurePosixPath(name).parent for name in names if PurePosixPath(name).name == WEIGHTS}):
            # Only a package whose module bears its name can be named in an address.
            if len(folder.parts) > 1 and ".." not in folder.parts and _same(folder.parts[0], package.name):
                yield from _one(folder)


def _one(folder: PurePosixPath) -> Iterator[BaseModelListed]:
    uri = f"package:{folder}"
    root, version, licence = installed_package(uri, folder.parts[0])
    place = root.joinpath(*folder.parts[1:])
    if (place / CONFIG).is_file():
        size_bytes = sum(path.stat().st_size for path in files_below(place) if path.is_file())
        yield BaseModelListed(uri, version, card_licence(place) or licence or UNKNOWN_LICENCE, size_bytes, locked=False)


def _same(module: str, package: str) -> bool:
    return re.sub(r"[-_.]+", "-", module).lower() == re.sub(r"[-_.]+", "-", package).lower()
