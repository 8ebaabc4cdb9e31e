"""Projects to run `adapt` in: a folder with versioned data, a locked base model, settings and a git commit."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from graftline.files import files_below
from graftline.settings import Settings, parse_settings
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.fine_tune import Checkpoint, fine_tune
from graftline.tasks.steps.mended_rows import mending_of
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import POLICY

PARAMS = "params.yaml"
IGNORED = ("artifacts", "reports", "mlflow", "data", ".dvc")


@dataclass(frozen=True)
class Adapted:
    """One run of `adapt`: its result as `adapt --json` prints it, and what the steps behind it left."""

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
        checkpoint = fine_tune.fn(workspace, settings.adaptation, data, base, mending=mending_of(settings))
    return Adapted(workspace, dict(result), data, base, checkpoint)


def validated(root: Path, settings: Settings) -> ValidatedData:
    """The project's accepted rows and their split."""
    workspace = Workspace(root)
    return validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))


def write_data_pointer(root: Path) -> str:
    """Write the cache's objects and data.dvc as `dvc add data` does, without its seconds. Returns: the version."""
    cache = root / ".dvc" / "cache" / "files" / "md5"
    (root / ".dvc").mkdir(exist_ok=True)
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    listing = []
    for path in files_below(root / "data"):
        digest = _keep_in_cache(cache, path.read_bytes())
        listing.append({"md5": digest, "relpath": path.relative_to(root / "data").as_posix()})
    version = _keep_in_cache(cache, json.dumps(listing, sort_keys=True).encode(), ".dir")
    out = {"md5": f"{version}.dir", "nfiles": len(listing), "hash": "md5", "path": "data"}
    (root / "data.dvc").write_text(yaml.safe_dump({"outs": [out]}))
    return version


def git(root: Path, *arguments: str) -> str:
    person = ["-c", "user.name=a test", "-c", "user.email=test@localhost"]
    command = ["git", "-C", str(root), *person, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


def _keep_in_cache(cache: Path, content: bytes, suffix: str = "") -> str:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = cache / digest[:2] / f"{digest[2:]}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return digest
