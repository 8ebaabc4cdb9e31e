"""Repeating a registered version from what its run recorded: the same commit, data, settings and threads, elsewhere."""

import json
import logging
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
from graftline.settings.by_value import FIRST_DEFAULTS
from graftline.tasks.own_code import PACKAGE, command_line_of
from graftline.tasks.past_project import lay_out, recorded_by, run_in
from graftline.tasks.registry.manifest import require_as_judged
from graftline.tasks.registry.versions import champion_of, get_version, open_model
from graftline.tasks.tracking.environment import build_environment, differing_from
from graftline.tasks.tracking.provenance import gpu, processor
from graftline.tasks.tracking.requirements import LOCK, installed_libraries, read_requirements
from graftline.tasks.workspace import Workspace

# In the order of the line, so that the first difference is where it began.
COMPARED = ("split_sha256", "test_sha256", "weights_sha256", "predictions_sha256")
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
    recorded = recorded_by(str(registered.run_id), of=f"{model} version {version}")
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
    of = f"{original.model} version {original.version}"
    project = lay_out(workspace.root, recorded, folder, of=of)
    settings = cast("dict[str, dict[str, JsonValue]]", recorded["settings"])
    _share_base_model(
        workspace.root, project, digest=str(recorded["base_model_sha256"]), uri=str(settings["base_model"]["uri"])
    )
    settings["adaptation"]["threads"] = recorded["threads"]
    python, module, path = _command_line_for(project, folder.with_name("environment"))
    if path == PACKAGE.parent:
        settings["adaptation"] = with_later_settings(settings["adaptation"])
    params = project / "params.reproduced.yaml"
    params.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    logger.info("running the line again with data version %s", version)
    command = [str(python), "-m", module, "adapt", "--params", params.name, "--json"]
    return cast("dict[str, JsonValue]", json.loads(run_in(command, project, of, path).splitlines()[-1]))


def with_later_settings(adaptation: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """What was recorded of the adaptation, and what this release knows beside it as it was before one could choose."""
    return {**FIRST_DEFAULTS["adaptation"], **adaptation}


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
