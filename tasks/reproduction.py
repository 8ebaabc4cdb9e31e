"""Repeating a registered version from what its run recorded: the same commit, data, settings and threads, elsewhere."""

import json
import logging
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml
from pydantic import JsonValue

from graftline.errors import RegistryRefusedError, ReproductionError
from graftline.settings import DataSettings
from graftline.tasks.children import run_child
from graftline.tasks.data.dvc_folder import LOCAL_CONFIG, cache_folder, dvc_folder
from graftline.tasks.own_code import PACKAGE, command_line_of
from graftline.tasks.registry.manifest import require_as_judged
from graftline.tasks.registry.versions import champion_of, get_version, open_model
from graftline.tasks.steps.data_version import named_version, pointer_of
from graftline.tasks.steps.tracked_run import PROVENANCE
from graftline.tasks.tracking.environment import build_environment, differing_from
from graftline.tasks.tracking.git import git, refusal
from graftline.tasks.tracking.provenance import gpu, processor
from graftline.tasks.tracking.requirements import LOCK, installed_libraries, read_requirements
from graftline.tasks.tracking.server import client
from graftline.tasks.workspace import Workspace

# In the order of the line, so that the first difference is where it began.
COMPARED = ("split_sha256", "test_sha256", "weights_sha256", "predictions_sha256")
# Servers of the original surroundings: a repetition uses neither.
FOREIGN = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL")
# The command line for a commit that holds no code of its own.
INSTALLED = "graftline.flows"

logger = logging.getLogger("graftline.reproduce")


@dataclass(frozen=True)
class Original:
    """A registered version and what its run recorded."""

    model: str
    version: int
    provenance: Mapping[str, JsonValue]
    digests: Mapping[str, str]


def original(workspace: Workspace, model: str, version: int | None) -> Original:
    """The version to repeat; without `version` the champion.

    Raises: RegistryRefusedError if the version is not there or its run recorded no commit.
    """
    open_model(workspace, model)
    version = champion_of(model) if version is None else version
    if version is None:
        raise RegistryRefusedError(f"{model}: has no champion to reproduce; name a version with --version")
    registered = get_version(model, version)
    require_as_judged(workspace, model, version)
    path = client().download_artifacts(str(registered.run_id), PROVENANCE)
    recorded = json.loads(Path(path).read_text(encoding="utf-8"))
    if not recorded.get("git_commit") and (why := recorded.get("git_refusal")):
        raise RegistryRefusedError(
            f"{model} version {version}: its commit is not known, for when it was made {why}; then make another,"
            " such as with `graftline adapt --set adaptation.seed=1`"
        )
    if not recorded.get("git_commit"):
        raise RegistryRefusedError(
            f"{model} version {version}: there was no commit of the project to go back to when it was made; commit the"
            " project and make another version, such as with `graftline adapt --set adaptation.seed=1`"
        )
    digests = {name: registered.tags.get(f"graftline.{name}", "not recorded") for name in COMPARED}
    return Original(model, version, recorded, digests)


def repeat(workspace: Workspace, original: Original, folder: Path) -> dict[str, JsonValue]:
    """Run the line again in `folder`, which becomes a repository at the recorded commit.

    Returns: what `adapt --json` said. Raises: ReproductionError if the repetition does not come to an end.
    """
    recorded = original.provenance
    commit, version = str(recorded["git_commit"]), str(recorded["data_version"])
    logger.info("checking out commit %s into %s", commit[:12], folder)
    _check_out(workspace.root, commit, folder, original)
    project = folder / str(recorded.get("project_folder", git(workspace.root, "rev-parse", "--show-prefix") or ""))
    _require_data_version(project, version, original)
    settings = cast("dict[str, dict[str, JsonValue]]", recorded["settings"])
    _share_base_model(
        workspace.root, project, digest=str(recorded["base_model_sha256"]), uri=str(settings["base_model"]["uri"])
    )
    _share_data(workspace.root, folder, project)
    settings["adaptation"]["threads"] = recorded["threads"]
    params = project / "params.reproduced.yaml"
    params.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    python, module, path = _command_line_for(project, folder.with_name("environment"))
    logger.info("running the line again with data version %s", version)
    command = [str(python), "-m", module, "adapt", "--params", params.name, "--json"]
    return cast("dict[str, JsonValue]", json.loads(_run(command, project, original, path).splitlines()[-1]))


def compare(original: Original, repeated: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The digests of both, which are equal. Raises: ReproductionError naming the first that differs, and why it may."""
    for name in COMPARED:
        if original.digests[name] != repeated[name]:
            raise ReproductionError(
                f"{original.model} version {original.version}: {name} differs first: was {original.digests[name][:12]},"
                f" is {str(repeated[name])[:12]}; {_suspects(original.provenance)}"
            )
    return {name: repeated[name] for name in COMPARED}


def _suspects(recorded: Mapping[str, JsonValue]) -> str:
    """The differences from when the original was made."""
    here = installed_libraries()
    libraries = cast("dict[str, str]", recorded["libraries"])
    changed = sorted(name for name in libraries.keys() | here.keys() if libraries.get(name) != here.get(name))
    found = []
    if (python := recorded.get("python")) != platform.python_version():
        found.append(f"Python was {python}, here it is {platform.python_version()}")
    if recorded["processor"] != processor():
        found.append(f"the processor was {recorded['processor']}, here it is {processor()}")
    if (was := recorded.get("gpu")) and was != (here_is := gpu("cuda")):
        found.append(f"the GPU was {was}, here it is {here_is or 'none'}")
    if changed:
        found.append(f"{len(changed)} libraries have another version ({', '.join(changed[:5])}, ...)")
    if not recorded["git_clean"]:
        found.append("the original was made from files that were not committed")
    return "; ".join(found) or "nothing recorded explains it: please report this"


def _require_data_version(folder: Path, version: str, original: Original) -> None:
    settings = cast("dict[str, dict[str, JsonValue]]", original.provenance["settings"])
    data = DataSettings.model_validate(settings["data"]).folder
    pointer = pointer_of(data)
    named = named_version(folder / pointer, data)
    if named != version or original.provenance["data_modified"]:
        raise ReproductionError(
            f"{original.model} version {original.version}: was made from data version {version}"
            f"{' with changed files' if original.provenance['data_modified'] else ''}, but its commit's {pointer}"
            f" names {named}; it cannot be repeated: commit {pointer} before a run that shall be repeatable"
        )


def _check_out(root: Path, commit: str, folder: Path, original: Original) -> None:
    """Lay out a commit of the repository that `root` lies in; the new one borrows its objects.

    No clone: from a shallow repository, or of a commit that no branch holds any more, there is none.
    """
    if why := refusal(root):
        raise ReproductionError(f"{original.model} version {original.version}: {why}")
    if git(root, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        is_shallow = git(root, "rev-parse", "--is-shallow-repository") == "true"
        fetch = "git fetch --unshallow" if is_shallow else "git fetch --all"
        raise ReproductionError(
            f"{original.model} version {original.version}: was made from commit {commit}, which this"
            f" {'shallow ' if is_shallow else ''}repository does not hold; run `{fetch}`, then again"
        )
    borrowed = (root / str(git(root, "rev-parse", "--git-path", "objects"))).resolve()
    kind = git(root, "rev-parse", "--show-object-format") or "sha1"
    _run(["git", "init", "--quiet", f"--object-format={kind}", str(folder)], root, original)
    (folder / ".git" / "objects" / "info" / "alternates").write_text(f"{borrowed}\n", encoding="utf-8")
    shallow = root / str(git(root, "rev-parse", "--git-path", "shallow"))
    if shallow.is_file():
        shutil.copyfile(shallow, folder / ".git" / "shallow")
    _run(["git", "checkout", "--quiet", "--detach", commit], folder, original)


def _share_base_model(root: Path, project: Path, *, digest: str, uri: str) -> None:
    """Spare the download of the base model, or bring its folder, which git may not hold.

    The commit's lock decides whether the bytes are right.
    """
    stored = Path("artifacts") / "base_models" / digest
    folder = Path(uri.removeprefix("path:"))
    if (root / stored).is_dir():
        shutil.copytree(root / stored, project / stored)
    elif uri.startswith("path:") and (root / folder).is_dir() and not (project / folder).exists():
        shutil.copytree(root / folder, project / folder)


def _share_data(root: Path, folder: Path, project: Path) -> None:
    """Spare the download of the data: the commit's pointer decides whether the bytes are right."""
    cache = cache_folder(root)
    if cache.is_dir():
        # By hand, because DVC cannot write a path that is not ASCII.
        above = git(root, "rev-parse", "--show-toplevel")
        shared = dvc_folder(root).parent
        is_inside = above is not None and shared.is_relative_to(Path(above).resolve())
        place = folder / shared.relative_to(Path(str(above)).resolve()) if is_inside else project
        (place / ".dvc").mkdir(exist_ok=True)
        (place / ".dvc" / LOCAL_CONFIG).write_text(f'[cache]\n    dir = "{cache.resolve()}"\n', encoding="utf-8")


def _command_line_for(project: Path, environment: Path) -> tuple[Path, str, Path | None]:
    """The Python, module and import path of the command line that repeats a run of this project.

    Raises: ReproductionError if the project holds no code, and the versions that it locks are not to be had.
    """
    here = Path(sys.executable)
    if module := command_line_of(project):
        return here, module, project
    if not (project / LOCK).is_file() or not (differing := differing_from(read_requirements(project / LOCK))):
        return here, INSTALLED, PACKAGE.parent
    logger.info("making an environment from %s: %d differ here (%s)", LOCK, len(differing), ", ".join(differing[:3]))
    return build_environment(project / LOCK, environment), INSTALLED, None


def _run(command: list[str], folder: Path, original: Original, path: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in (*FOREIGN, "PYTHONPATH")}
    if path:
        # The code of that commit, not of the project that this process runs from.
        environment["PYTHONPATH"] = str(path)
    done = run_child(command, folder=folder, environment=environment)
    if done.returncode != 0:
        raise ReproductionError(
            f"{original.model} version {original.version}: `{' '.join(command[:4])}` ended with exit code"
            f" {done.returncode} in {folder}, expected 0; its messages stand above"
        )
    return done.stdout
