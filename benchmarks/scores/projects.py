"""Projects to run `adapt` in: a folder with versioned data, a locked base model, settings and a git commit."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from graftline.settings import Settings, parse_settings
from graftline.tasks.step_folders import Workspace
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import BaseModel, fetch_model, lock_model
from graftline.tasks.steps.fine_tune import Checkpoint, fine_tune
from graftline.tasks.steps.validate_data import ValidatedData, validate_data
from graftline.verdict.policy import POLICY
from tests.support.tiny_project import git, write_data_pointer

PARAMS = "params.yaml"
IGNORED = ("artifacts", "reports", "mlflow", "data", ".dvc")


@dataclass(frozen=True)
class Adapted:
    """What `adapt` made: its result as `adapt --json` prints it, and what the steps behind it left."""

    workspace: Workspace
    result: dict[str, Any]
    data: ValidatedData
    base: BaseModel
    checkpoint: Checkpoint


def start_project(root: Path, settings: Mapping[str, Any], *base_models: str) -> None:
    """Make a project of `root`, where data and base models lie already: version and lock them, and commit."""
    write_data_pointer(root)
    for uri in base_models:
        lock_model(Workspace(root), uri)
    # Only the strategies are of interest here, and training from scratch is one of their lines.
    (root / POLICY).parent.mkdir(exist_ok=True)
    (root / POLICY).write_text("baselines: []\n")
    (root / ".gitignore").write_text("".join(f"/{name}/\n" for name in IGNORED))
    (root / PARAMS).write_text(yaml.safe_dump(dict(settings), sort_keys=False))
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "a project")


def kept_project(root: Path, write: Callable[[Path], None]) -> None:
    """The project in `root`, written unless it is there: what a killed run left in it is of use to the next."""
    if (root / ".git").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    partial.rename(root)


@contextmanager
def working_in(root: Path) -> Iterator[None]:
    """Inside, the process runs in the project `root`, with that project's own tracking store."""
    home, named = Path.cwd(), os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.chdir(root)
    try:
        yield
    finally:
        os.chdir(home)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if named is not None:
            os.environ["MLFLOW_TRACKING_URI"] = named


def adapt_in(root: Path, tree: Mapping[str, Any]) -> Adapted:
    """Run the flow in the project. Raises: GraftlineError as `adapt` does."""
    from graftline.flows.adapt import adapt

    settings = parse_settings(dict(tree), source=f"{root.name}/{PARAMS}")
    with working_in(root):
        result = adapt(settings)
        # The steps that the flow has run: asked again, they give what they made.
        workspace, data = Workspace(root), validated(root, settings)
        base = fetch_model.fn(workspace, settings.base_model.uri)
        checkpoint = fine_tune.fn(workspace, settings.adaptation, data, base)
    return Adapted(workspace, dict(result), data, base, checkpoint)


def validated(root: Path, settings: Settings) -> ValidatedData:
    """The project's accepted rows and their split."""
    workspace = Workspace(root)
    return validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
