"""The rows to learn from as another commit's data have them."""

from collections.abc import Iterator
from contextlib import contextmanager

from graftline.errors import SettingsError
from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.past_project import lay_out_commit
from graftline.tasks.scratch import scratch_folder
from graftline.tasks.steps.data_version import data_version, pointer_of
from graftline.tasks.steps.distances import Domain, rows_to_learn_from
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.tracking.git import git, refusal
from graftline.tasks.workspace import Workspace


@contextmanager
def rows_of_commit(workspace: Workspace, settings: Settings, present: ValidatedData, named: str) -> Iterator[Domain]:
    """Inside, the rows of the version of the data that a commit names, read and checked as the present ones are.

    Raises: SettingsError if it is no commit, or its data are the present ones; ReproductionError if the commit is not
    to be had or names no version; DataRefusedError if its data are not to be had, or not fit.
    """
    option, pointer = f"--since {named}", pointer_of(settings.data.folder)
    commit = _commit(workspace, named, option, pointer)
    with scratch_folder(workspace) as scratch:
        place = scratch / "project"
        project = Workspace(lay_out_commit(workspace.root, commit, place, settings.data.folder, of=option))
        version = data_version.fn(project, settings.data)
        if version.version == present.data.version:
            raise SettingsError(
                f"{option}: its data are version {version.version}, as the present ones are, expected an earlier or"
                f" later version; `git log --oneline -- {pointer}` lists the commits that changed it"
            )
        past = validate_data.fn(project, settings.data, version)
        yield rows_to_learn_from(project, past, f"version {version.version[:12]} of {commit[:12]}")


def _commit(workspace: Workspace, named: str, option: str, pointer: str) -> str:
    commit = None if named.startswith("-") else git(workspace.root, "rev-parse", "--verify", f"{named}^{{commit}}")
    if not commit:
        why = refusal(workspace.root) or "names no commit of this repository"
        raise SettingsError(
            f"{option}: {why}, expected one with another version of the data;"
            f" `git log --oneline -- {pointer}` lists them"
        )
    return commit
