"""A project that holds no code is reproduced after an upgrade, by the versions that its commit locks."""

import json
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.scores.projects import git
from tests.support.running_project import copy_project
from tests.support.tiny_models import write_tiny_model
from tests.support.tiny_project import rows_as_csv, surroundings

pytestmark = pytest.mark.long

OLD, NEW = "0.1.0", "0.1.1.dev0"
QUICK = """
adaptation:
  strategy: feature_extraction
  max_tokens: 32
  threads: 1
  device: cpu
"""


@dataclass(frozen=True)
class Surroundings:
    """An installed Graftline, and a folder of wheels in place of an index."""

    python: Path
    wheels: Path

    def install(self, version: str) -> None:
        (wheel,) = self.wheels.glob(f"graftline-{version}-*.whl")
        pip("--python", str(self.python), "install", "--quiet", "--no-deps", "--no-index", str(wheel))

    def graftline(self, root: Path, *arguments: str, wheels: Path | None = None) -> subprocess.CompletedProcess[str]:
        index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels or self.wheels)}
        environment = {name: value for name, value in surroundings(**index).items() if name != "PYTHONPATH"}
        return subprocess.run(
            [str(self.python), "-m", "graftline.flows", *arguments],
            cwd=root, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments], check=True)


def build_wheel(project: Path, wheels: Path) -> None:
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(project))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Surroundings:
    """Two releases that differ in a comment, of which the old one is installed."""
    folder = tmp_path_factory.mktemp("releases")
    for version in (OLD, NEW):
        project = copy_project(folder / version)
        settings = project / "pyproject.toml"
        settings.write_text(settings.read_text().replace(f'version = "{OLD}"', f'version = "{version}"'))
        with (project / "tasks" / "workspace.py").open("a") as file:
            file.write(f"# release {version}\n")
        build_wheel(project, folder / "wheels")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "environment")], check=True)
    found = Surroundings(folder / "environment" / "bin" / "python", folder / "wheels")
    found.install(OLD)
    (packages,) = (folder / "environment").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return found


@pytest.fixture(scope="module")
def project(installed: Surroundings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that the old release made and adapted: in a subfolder of a worktree without a branch."""
    folder = tmp_path_factory.mktemp("own")
    repository, worktree = folder / "repository", folder / "ein Baum für später"
    repository.mkdir()
    git(repository, "init", "--quiet", "--initial-branch", "main")
    (repository / "notes.md").write_text("several projects\n")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "begin")
    git(repository, "worktree", "add", "--quiet", "--detach", str(worktree))
    root = worktree / "erstes Projekt"
    write_tiny_model(root / "base_models" / "tiny")
    (folder / "rows.csv").write_text(rows_as_csv())
    begun = installed.graftline(root, "init", "--data", "../../rows.csv", "--model", "own")
    assert begun.returncode == 0, begun.stderr
    settings = root / "params.yaml"
    before, _, after = settings.read_text().partition("adaptation:\n")
    settings.write_text(before + QUICK.lstrip() + "registry:" + after.partition("registry:")[2])
    (root / "mlflow" / "promotion.yaml").write_text("baselines: []\n")
    git(worktree, "add", ".")
    git(worktree, "commit", "--quiet", "--message", "a project of one's own")
    done = installed.graftline(root, "adapt", "--json")
    assert done.returncode == 0, done.stderr
    installed.install(NEW)
    return root


def test_a_version_of_the_release_before_is_reproduced_to_equal_digests(installed: Surroundings, project: Path) -> None:
    done = installed.graftline(project, "reproduce", "own", "--version", "1", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["equal"], result["version"]) == (True, 1)
    assert f"graftline {OLD} (here {NEW})" in done.stderr


def test_without_the_old_release_the_versions_that_differ_are_named(
    installed: Surroundings, project: Path, tmp_path: Path
) -> None:
    done = installed.graftline(project, "reproduce", "own", "--version", "1", wheels=tmp_path)
    assert done.returncode == 5, done.stderr
    assert "requirements.lock: this environment is not the one that made the version: 1 differ:" in done.stderr
    assert f"graftline {OLD} (here {NEW})" in done.stderr.splitlines()[-1]


def test_another_wheel_of_the_same_version_is_refused(installed: Surroundings, project: Path, tmp_path: Path) -> None:
    build_wheel(copy_project(tmp_path / "source"), tmp_path / "wheels")
    done = installed.graftline(project, "reproduce", "own", "--version", "1", wheels=tmp_path / "wheels")
    assert done.returncode == 5
    assert "expected" in done.stderr
    assert "has sha256" in done.stderr
