"""The project folder as it was when a version was made: the recorded commit, with the data that it names at hand."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import JsonValue

from graftline.errors import ReproductionError
from graftline.settings import DataSettings
from graftline.tasks.children import run_child
from graftline.tasks.data.dvc_folder import LOCAL_CONFIG, cache_folder, configuration, dvc_folder
from graftline.tasks.outside_faults import understood
from graftline.tasks.steps.data_version import named_version, pointer_of
from graftline.tasks.steps.tracked_run import PROVENANCE
from graftline.tasks.tracking.git import git, refusal
from graftline.tasks.tracking.server import client

# Servers of the original surroundings: a repetition uses neither.
FOREIGN = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL")


def recorded_by(run_id: str, *, of: str) -> dict[str, Any]:
    """What a run noted of where it came from: settings, commit, data version, threads and libraries.

    Raises: ReproductionError, about the version `of`, if the run or its note is there no more.
    """
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="graftline-provenance-") as folder:
        try:
            path = Path(client().download_artifacts(run_id, PROVENANCE, folder))
        except (MlflowException, OSError) as error:
            if understood(error) is not None:  # such as a server that is away
                raise
            raise ReproductionError(
                f"{of}: MLflow holds no {PROVENANCE} of its run {run_id}, which says from what it was made; bring the"
                " run back, or make another version"
            ) from error
        return dict(json.loads(path.read_text(encoding="utf-8")))


def lay_out(root: Path, recorded: Mapping[str, JsonValue], folder: Path, *, of: str) -> Path:
    """Make `folder` a repository at the recorded commit; the data are fetched by whoever reads them.

    Returns: the project folder in it. Raises: ReproductionError, about the version `of`, if the commit is not to be
    had, or names other data than the run had.
    """
    project = _checked_out(root, str(recorded["git_commit"]), folder, recorded.get("project_folder"), of)
    _require_data_version(project, recorded, of)
    _share_data(root, folder, project)
    return project


def lay_out_commit(root: Path, commit: str, folder: Path, data: str, *, of: str) -> Path:
    """The same for any commit in which the project's folder `data` has a version.

    Raises: ReproductionError, about `of`, if the commit is not to be had, or names no version.
    """
    project = _checked_out(root, commit, folder, None, of)
    if not (project / pointer_of(data)).is_file():
        raise ReproductionError(f"{of}: commit {commit} holds no {pointer_of(data)}, which names a version of {data}/")
    _share_data(root, folder, project)
    return project


def _checked_out(root: Path, commit: str, folder: Path, place: JsonValue, of: str) -> Path:
    """The project folder in a repository at that commit, at its `place` there; None: where it lies now."""
    check_out(root, commit, folder, of)
    return folder / str(git(root, "rev-parse", "--show-prefix") or "" if place is None else place)


def _require_data_version(project: Path, recorded: Mapping[str, JsonValue], of: str) -> None:
    settings = cast("dict[str, dict[str, JsonValue]]", recorded["settings"])
    data = DataSettings.model_validate(settings["data"]).folder
    pointer = pointer_of(data)
    if not (project / pointer).is_file():
        raise ReproductionError(f"{of}: was made from data without a version, for its commit holds no {pointer}")
    version, named = recorded["data_version"], named_version(project / pointer, data)
    if named != version or recorded["data_modified"]:
        raise ReproductionError(
            f"{of}: was made from data version {version}"
            f"{' with changed files' if recorded['data_modified'] else ''}, but its commit's {pointer}"
            f" names {named}; it cannot be repeated: commit {pointer} before a run that shall be repeatable"
        )


def check_out(root: Path, commit: str, folder: Path, of: str) -> None:
    """Lay out a commit of the repository that `root` lies in; the new one borrows its objects.

    No clone: from a shallow repository, or of a commit that no branch holds any more, there is none.
    """
    if why := refusal(root):
        raise ReproductionError(f"{of}: {why}")
    if git(root, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        is_shallow = git(root, "rev-parse", "--is-shallow-repository") == "true"
        fetch = "git fetch --unshallow" if is_shallow else "git fetch --all"
        raise ReproductionError(
            f"{of}: was made from commit {commit}, which this {'shallow ' if is_shallow else ''}repository does not"
            f" hold; run `{fetch}`, then again"
        )
    borrowed = (root / str(git(root, "rev-parse", "--git-path", "objects"))).resolve()
    kind = git(root, "rev-parse", "--show-object-format") or "sha1"
    run_in(["git", "init", "--quiet", f"--object-format={kind}", str(folder)], root, of)
    (folder / ".git" / "objects" / "info" / "alternates").write_text(f"{borrowed}\n", encoding="utf-8")
    shallow = root / str(git(root, "rev-parse", "--git-path", "shallow"))
    if shallow.is_file():
        shutil.copyfile(shallow, folder / ".git" / "shallow")
    run_in(["git", "checkout", "--quiet", "--detach", commit], folder, of)


def _share_data(root: Path, folder: Path, project: Path) -> None:
    """Use the project's cache, and its own settings of DVC such as credentials, which no commit holds.

    The commit's pointer decides whether the bytes are right.
    """
    ours = dvc_folder(root)
    if not ours.is_dir():
        return
    above = git(root, "rev-parse", "--show-toplevel")
    is_inside = above is not None and ours.parent.is_relative_to(Path(above).resolve())
    place = folder / ours.parent.relative_to(Path(str(above)).resolve()) if is_inside else project
    (place / ".dvc").mkdir(exist_ok=True)
    # By hand, because DVC cannot write a path that is not ASCII.
    private_settings = configuration(ours / LOCAL_CONFIG)
    private_settings.read_dict({"cache": {"dir": str(cache_folder(root).resolve())}})
    file = place / ".dvc" / LOCAL_CONFIG
    file.touch(mode=0o600)
    with file.open("w", encoding="utf-8") as opened:
        private_settings.write(opened)


def run_in(command: list[str], folder: Path, of: str, path: Path | None = None) -> str:
    """What a command says, which reaches none of the servers of the original surroundings.

    `path`: from where it imports Graftline. Raises: ReproductionError unless it ends with 0.
    """
    environment = {name: value for name, value in os.environ.items() if name not in (*FOREIGN, "PYTHONPATH")}
    if path:
        # The code of that commit, not of the project that this process runs from.
        environment["PYTHONPATH"] = str(path)
    done = run_child(command, folder=folder, environment=environment)
    if done.returncode != 0:
        raise ReproductionError(
            f"{of}: `{' '.join(command[:4])}` ended with exit code {done.returncode} in {folder}, expected 0; its"
            " messages stand above"
        )
    return done.stdout
