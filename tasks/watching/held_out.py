"""The rows that a version was judged on, though the project may be at later data by now."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import ValidationError

from graftline.errors import DataRefusedError, RegistryRefusedError, ReproductionError
from graftline.settings import DataSettings, Settings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.past_project import lay_out, recorded_by
from graftline.tasks.registry.named import NamedVersion
from graftline.tasks.registry.versions import DATA_VERSION
from graftline.tasks.scratch import scratch_folder
from graftline.tasks.steps.compare_versions import other_split
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace

logger = logging.getLogger("graftline.watch")


@dataclass(frozen=True)
class HeldOutRows:
    """Held-out rows, and the project folder that their files lie in."""

    workspace: Workspace
    data: ValidatedData
    note: str = ""
    """Why they are not those that the version was judged on, if they are not."""


@contextmanager
def judged_rows(workspace: Workspace, settings: Settings, version: NamedVersion) -> Iterator[HeldOutRows]:
    """The held-out rows of the data version that a version was trained on; of the present one, and why, where that
    cannot be had.

    Raises: RegistryRefusedError if the version may have learned from rows that are held out now.
    """
    present = data_version.fn(workspace, settings.data)
    trained_on, note = version.version.tags.get(DATA_VERSION), ""
    if trained_on not in (None, present.version):
        with scratch_folder(workspace) as scratch:
            try:
                found = _laid_out(workspace, version, Workspace(scratch / "project"))
            except (DataRefusedError, ReproductionError, ValidationError) as error:
                note = f"its own data version {str(trained_on)[:12]} is not to be had ({' '.join(str(error).split())})"
                logger.warning("watch: %s: %s; held-out rows of the present version are taken", version, note)
            else:
                yield found
                return
    data = validate_data.fn(workspace, settings.data, present)
    if why := other_split(version, settings, data):
        raise RegistryRefusedError(
            f"{why}: no reference for what it answers; watch it with the settings that it was trained with"
        )
    yield HeldOutRows(workspace, data, note)


def _laid_out(workspace: Workspace, version: NamedVersion, place: Workspace) -> HeldOutRows:
    """The project as it was. Raises: ReproductionError or DataRefusedError if commit or data are not to be had."""
    recorded = recorded_by(str(version.version.run_id), of=str(version))
    if not recorded.get("git_commit"):
        raise ReproductionError(f"{version}: its run knew no commit")
    logger.info("watch: %s was judged on data version %s; laying it out", version, recorded["data_version"])
    project = Workspace(lay_out(workspace.root, recorded, place.root, of=str(version)))
    then = DataSettings.model_validate(recorded["settings"]["data"])
    return HeldOutRows(project, validate_data.fn(project, then, data_version.fn(project, then)))
