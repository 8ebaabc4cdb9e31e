"""An installed Graftline claims one name, and leaves a user's own modules called tasks and flows alone."""

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.bundles import bundle_in, signer
from tests.support.running_project import copy_project
from tests.support.tiny_model_files import flip_byte
from tests.support.tiny_project import surroundings, write_project

pytestmark = pytest.mark.full

IMPORTED = (
    "adapt",
    "promote",
    "override",
    "rollback",
    "history_page",
    "mend",
    "servers.deployments",
    "servers.checkout",
)
OWN_MODULE = "raise ImportError('a module of the user was imported')\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    project = copy_project(folder / "project")
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(project))
    (made,) = folder.glob("graftline-*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    """An environment with the wheel; its dependencies are those of this environment, which has no other Graftline."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(wheel.parent / "environment")], check=True)
    python = wheel.parent / "environment" / "bin" / "python"
    pip("--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    (packages,) = (wheel.parent / "environment").glob("lib/python*/site-packages")
    # As a plain line: what an editable install put beside the dependencies does not run.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project, with modules of their own that have the names of our folders."""
    root = write_project(tmp_path_factory.mktemp("user") / "project")
    (root / "tasks.py").write_text(OWN_MODULE)
    (root / "flows").mkdir()
    (root / "flows" / "__init__.py").write_text(OWN_MODULE)
    return root


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments], check=True)


def test_the_wheel_holds_one_package_with_all_that_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (top_level,) = (name for name in names if name.endswith("top_level.txt"))
        assert archive.read(top_level).decode().split() == ["graftline"]
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"graftline"}
    for name in ("py.typed", "pages/templates/report.html", "tasks/steps/fine_tune.py", "flows/servers/commands.py"):
        assert f"graftline/{name}" in names


@pytest.mark.long
def test_adapt_runs_beside_a_users_own_modules(python: Path, project: Path) -> None:
    done = subprocess.run(
        [str(python.with_name("graftline")), "adapt", "--json"],
        cwd=project, env=surroundings(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["verdict"] == "PROMOTE"


def test_a_recipient_verifies_a_bundle_in_an_empty_folder(python: Path, tmp_path: Path) -> None:
    path = bundle_in(tmp_path)
    command = ["env", "-i", str(python.with_name("graftline")), "verify", path.name, "--key", signer().public_key]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.startswith("reviews version 1: PROMOTE")) == (0, True), done.stderr
    assert list(tmp_path.iterdir()) == [path]
    flip_byte(path)
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 9


@pytest.fixture(scope="module")
def imported(python: Path, project: Path) -> dict[str, str]:
    """Where each module was found by one process in the user's folder, or the error."""
    program = (
        "import importlib, json\nfound = {}\n"
        f"for name in {IMPORTED!r}:\n"
        "    try:\n        found[name] = importlib.import_module(f'graftline.flows.{name}').__file__\n"
        "    except ImportError as error:\n        found[name] = repr(error)\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run(
        [str(python), "-c", program], cwd=project, env=surroundings(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("module", IMPORTED)
def test_what_a_worker_imports_is_found_where_the_users_folder_comes_first(
    python: Path, imported: dict[str, str], module: str
) -> None:
    assert Path(imported[module]).is_relative_to(python.parents[1])
