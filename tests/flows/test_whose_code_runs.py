"""In a clone or worktree its own code runs, whichever clone is installed in the environment."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.running_project import copy_project
from tests.support.tiny_project import surroundings

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "graftline")
MARK = "this is the second clone"


@pytest.fixture(scope="module")
def second_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clone = copy_project(tmp_path_factory.mktemp("second clone") / "graftline é")
    with (clone / "flows" / "cli.py").open("a", encoding="utf-8") as file:
        file.write(f"\nprint({MARK!r})\n")
    return clone


@pytest.mark.parametrize("command", [[SCRIPT], [sys.executable, "-m", "graftline.flows"]])
def test_a_second_clone_runs_its_own_code(second_clone: Path, command: list[str]) -> None:
    assert MARK in said([*command, "--help"], second_clone)


def test_a_worktree_of_a_commit_before_the_move_runs_its_own_code(tmp_path: Path) -> None:
    for package in ("graftline", "flows"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "flows" / "cli.py").touch()
    (tmp_path / "flows" / "__main__.py").write_text(f"print({MARK!r})\n")
    assert MARK in said([SCRIPT, "--help"], tmp_path)


def test_a_users_own_folders_of_our_names_run_nothing(tmp_path: Path) -> None:
    for package in ("graftline", "flows"):
        (tmp_path / package).mkdir()
    (tmp_path / "flows" / "cli.py").write_text(f"print({MARK!r})\n")
    assert MARK not in said([SCRIPT, "--help"], tmp_path)


def test_a_project_without_code_runs_what_is_installed(tmp_path: Path) -> None:
    said_there = said([SCRIPT, "--help"], tmp_path)
    assert MARK not in said_there
    assert "adapt" in said_there


def test_arguments_exit_code_and_import_path_come_through(second_clone: Path) -> None:
    done = subprocess.run(
        [SCRIPT, "history", "a b", "--json"],
        cwd=second_clone, env=surroundings(PYTHONPATH="elsewhere"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert MARK in done.stdout
    assert done.returncode == 2
    assert "a b" in done.stderr


def said(command: list[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, env=surroundings(), capture_output=True, text=True, check=True).stdout
