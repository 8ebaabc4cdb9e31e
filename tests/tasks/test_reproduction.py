"""A run is repeated by the command line of its own commit, or by the installed one where that holds no code."""

import platform
from pathlib import Path

import pytest
from pydantic import JsonValue

from benchmarks.scores.projects import git
from graftline.errors import ReproductionError
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.data.dvc_folder import open_repo
from graftline.tasks.own_code import command_line_of
from graftline.tasks.past_project import _share_data, check_out
from graftline.tasks.reproduction import _share_base_model, _suspects, with_later_settings
from graftline.tasks.tracking.git import git as ask_git
from graftline.tasks.tracking.provenance import processor


@pytest.mark.parametrize(
    ("files", "module"),
    [
        (["graftline/__init__.py", "graftline/flows/cli.py", "flows/cli.py"], "graftline.flows"),
        (["graftline/__init__.py", "flows/cli.py"], "flows"),
        (["graftline/rows.csv", "flows/cli.py"], None),
        (["params.yaml", "tasks.py", "flows/__init__.py"], None),
    ],
)
def test_the_command_line_is_where_the_folder_has_it(tmp_path: Path, files: list[str], module: str | None) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert command_line_of(tmp_path) == module


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits, in a path with a space."""
    root = tmp_path / "the repository"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch", "main")
    for number in range(2):
        (root / "params.yaml").write_text(f"{number}")
        git(root, "add", ".")
        git(root, "commit", "--quiet", "--message", f"{number}")
    return root


def laid_out(root: Path, commit: str, folder: Path) -> str:
    check_out(root, commit, folder, "model version 1")
    return (folder / "params.yaml").read_text()


def commit_of(root: Path, name: str = "HEAD") -> str:
    return str(ask_git(root, "rev-parse", name))


def test_a_commit_that_no_branch_holds_any_more_is_laid_out(repository: Path, tmp_path: Path) -> None:
    dropped = commit_of(repository)
    git(repository, "reset", "--quiet", "--hard", "HEAD~1")
    assert laid_out(repository, dropped, tmp_path / "again") == "1"


def test_a_worktree_and_a_subfolder_are_laid_out_as_the_whole_repository(repository: Path, tmp_path: Path) -> None:
    worktree = tmp_path / "für später"
    git(repository, "worktree", "add", "--quiet", "--detach", str(worktree), "HEAD~1")
    (worktree / "sub").mkdir()
    assert laid_out(worktree / "sub", commit_of(worktree), tmp_path / "again") == "0"


def test_of_a_shallow_repository_what_it_holds_is_laid_out(repository: Path, tmp_path: Path) -> None:
    first = commit_of(repository, "HEAD~1")
    git(tmp_path, "clone", "--quiet", "--depth", "1", repository.as_uri(), "shallow")
    assert laid_out(tmp_path / "shallow", commit_of(repository), tmp_path / "again") == "1"
    with pytest.raises(ReproductionError, match=r"which this shallow repository does not hold; run `git fetch --unsh"):
        laid_out(tmp_path / "shallow", first, tmp_path / "first")


def test_a_repository_that_git_refuses_to_read_is_said_so(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = commit_of(repository)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(ReproductionError, match=r"'dubious ownership'\); run `git config --global --add safe"):
        laid_out(repository, commit, tmp_path / "again")


def test_a_base_model_that_git_does_not_hold_comes_along(tmp_path: Path) -> None:
    for name in ("base_models/tiny/config.json", "artifacts/base_models/abc/config.json"):
        (tmp_path / "here" / name).parent.mkdir(parents=True)
        (tmp_path / "here" / name).write_text("{}")
    for digest, brought in (("not stored", "base_models/tiny"), ("abc", "artifacts/base_models/abc")):
        project = tmp_path / digest
        _share_base_model(tmp_path / "here", project, digest=digest, uri="path:base_models/tiny")
        assert [path.relative_to(project).as_posix() for path in project.rglob("*.json")] == [f"{brought}/config.json"]


def test_the_cache_and_credentials_of_the_project_are_those_of_its_past_too(repository: Path, tmp_path: Path) -> None:
    (repository / ".dvc").mkdir()
    (repository / ".dvc" / "config.local").write_text(
        "['remote \"team\"']\n    url = https://h/x\n    password = a word\n"
    )
    again = tmp_path / "again"
    check_out(repository, commit_of(repository), again, "model version 1")
    _share_data(repository, again, again)
    file = again / ".dvc" / "config.local"
    with open_repo(again) as repo:
        assert repo.config["remote"]["team"]["password"] == "a word"
        assert repo.config["cache"]["dir"] == str(repository / ".dvc" / "cache")
    assert file.stat().st_mode & 0o077 == 0


def test_another_python_may_be_why_a_digest_differs() -> None:
    recorded: dict[str, JsonValue] = {"python": "3.0.1", "processor": processor(), "libraries": {}, "git_clean": True}
    assert _suspects(recorded).startswith(f"Python was 3.0.1, here it is {platform.python_version()}")


def test_what_a_later_release_lets_choose_is_repeated_as_it_was_before() -> None:
    recorded = AdaptationSettings(epochs=2).model_dump(mode="json")
    del recorded["refit_rows"]  # a release that did not know it learned from the training rows alone
    read = AdaptationSettings.model_validate(with_later_settings(recorded))
    assert (read.refit_rows, read.epochs) == (0, 2)
    assert AdaptationSettings().refit_rows > 0
