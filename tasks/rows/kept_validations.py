"""The rows that a validation quarantined, as it left them in its folder."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftline.errors import SettingsError
from graftline.pages.validation_page import QuarantinedRow
from graftline.settings import DataSettings
from graftline.tasks.step_folders import MANIFEST
from graftline.tasks.steps.data_version import named_version, pointer_of
from graftline.tasks.steps.validate_data import INPUTS, STEP
from graftline.tasks.steps.validation_files import QUARANTINE
from graftline.tasks.workspace import Workspace

REFUSED = "refused"


@dataclass(frozen=True)
class KeptValidation:
    """What one validation left."""

    folder: Path
    key: str
    version: str
    """Of the data that it looked at; a question mark if an earlier release did."""
    is_refused: bool
    rows: tuple[QuarantinedRow, ...]


def kept_validation(workspace: Workspace, settings: DataSettings, key: str | None = None) -> KeptValidation:
    """The newest validation of the version that the .dvc file names, else the newest of all; or that of a key.

    Raises: SettingsError if there is none, or none or several whose key begins so.
    """
    folders = sorted(_folders(workspace), key=lambda folder: (folder / QUARANTINE).stat().st_mtime_ns)
    if not folders:
        raise SettingsError(f"{workspace.artifacts / STEP}: holds no validation yet; `graftline adapt` begins with one")
    if key is not None:
        named = [folder for folder in folders if folder.name.startswith(key)]
        if len(named) != 1:
            known = ", ".join(folder.name[:8] for folder in reversed(folders[-5:]))
            raise SettingsError(f"--of {key}: {len(named) or 'no'} validations begin so; the newest are {known}")
        return _read(named[0])
    pointer = workspace.root / pointer_of(settings.folder)
    version = named_version(pointer, settings.folder) if pointer.is_file() else None
    of_version = [folder for folder in folders if _version_in(folder) == version]
    return _read((of_version or folders)[-1])


def _folders(workspace: Workspace) -> Iterator[Path]:
    for place in (workspace.artifacts / STEP, workspace.artifacts / STEP / REFUSED):
        if place.is_dir():
            yield from (one for one in place.iterdir() if not one.name.startswith(".") and (one / QUARANTINE).is_file())


def _read(folder: Path) -> KeptValidation:
    lines = (folder / QUARANTINE).read_text(encoding="utf-8").splitlines()
    rows = tuple(_row(json.loads(line)) for line in lines)
    return KeptValidation(folder, folder.name, _version_in(folder) or "?", folder.parent.name == REFUSED, rows)


def _row(said: dict[str, Any]) -> QuarantinedRow:
    return QuarantinedRow(said["line"], said["row_id"], tuple(said["reasons"]), said["values"])


def _version_in(folder: Path) -> str | None:
    """The version of the data that a validation looked at."""
    for name in (MANIFEST, INPUTS):
        try:
            known = json.loads((folder / name).read_text(encoding="utf-8"))
            return str(known.get("inputs", known)["depends_on"]["version"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None
