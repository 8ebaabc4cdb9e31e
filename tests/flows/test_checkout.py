"""The project in a worker's clone: where the branch is, at a commit, and not moved under a run's feet."""

import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.scores.projects import git
from graftline.errors import GraftlineError, SettingsError
from graftline.flows.servers.checkout import COMMIT, IN_USE, PROJECTS, checkout, head_of, in_use
from graftline.flows.servers.team_secrets import kept_secrets


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bare one with a commit on main; this process is a worker with a folder of its own."""
    monkeypatch.setenv(PROJECTS, str(tmp_path / "worker"))
    for name in (COMMIT, "PREFECT_FLOWS_DEFAULT_RETRIES", "PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", "bare.git")
    git(work, "remote", "add", "origin", str(tmp_path / "bare.git"))
    push(work, "first")
    return tmp_path / "bare.git"


def push(work: Path, content: str) -> str:
    (work / "data.dvc").write_text(content)
    git(work, "add", ".")
    git(work, "commit", "--quiet", "--message", content)
    git(work, "push", "--quiet", "origin", "main")
    return str(head_of(str(work), "main"))


def pulled(repository: Path, *, commit: str = "", waits: bool = True) -> str:
    """The content of the worker's data.dvc after the step."""
    folder = checkout(str(repository), "main", "films", commit, waits=waits)["directory"]
    return (Path(folder) / "data.dvc").read_text()


def test_each_run_gets_the_head_of_the_branch_and_what_the_last_one_left(repository: Path) -> None:
    assert pulled(repository) == "first"
    Path("left").touch()
    commit = push(repository.parent / "work", "second")
    assert pulled(repository) == "second"
    assert os.environ[COMMIT] == commit
    assert Path("left").exists()


def test_a_commit_stays_where_it_is_though_the_branch_moves(repository: Path) -> None:
    first = str(head_of(str(repository), "main"))
    push(repository.parent / "work", "second")
    assert pulled(repository, commit=first) == "first"


def test_a_clone_in_which_a_run_works_is_not_moved(repository: Path) -> None:
    assert pulled(repository) == "first"
    with in_use(Path.cwd()):
        assert pulled(repository, waits=True) == "first"  # the same commit: both may work
        push(repository.parent / "work", "second")
        assert pulled(repository, waits=False) == "first"
        with (Path.cwd() / ".git" / IN_USE).open("a") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert pulled(repository) == "second"


def test_a_decision_does_not_wait_behind_a_training_that_waits_for_another_one(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, may_go_on = threading.Event(), threading.Event()

    def sleep(_: float) -> None:
        waiting.set()
        assert may_go_on.wait(60)

    assert pulled(repository) == "first"
    with ThreadPoolExecutor(1) as pool:
        with in_use(Path.cwd()):
            push(repository.parent / "work", "second")
            monkeypatch.setattr("graftline.flows.servers.checkout.time", SimpleNamespace(sleep=sleep))
            training = pool.submit(pulled, repository, waits=True)
            assert waiting.wait(60)
            decision = ThreadPoolExecutor(1).submit(pulled, repository, waits=False)
            try:
                assert decision.result(timeout=30) == "first"
            finally:
                may_go_on.set()
        assert training.result(timeout=60) == "second"


def test_what_someone_changed_in_the_clone_is_undone(repository: Path) -> None:
    assert pulled(repository) == "first"
    Path("data.dvc").write_text("changed by hand")
    assert pulled(repository) == "first"


def test_a_branch_or_a_repository_that_is_not_there_is_told_without_a_password(repository: Path) -> None:
    with pytest.raises(GraftlineError, match=r"git fetch of the project failed \(fatal: couldn't find remote ref"):
        checkout(str(repository), "other", "films")
    assert head_of(str(repository), "other") is None
    with pytest.raises(SettingsError, match=r"git ls-remote of the project failed") as refused:
        head_of("http://name:hidden@127.0.0.1:9/films.git", "main")
    assert "hidden" not in str(refused.value)


def test_an_address_that_is_a_command_is_refused(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        head_of(f"ext::touch {tmp_path}/brought", "main")
    assert not (tmp_path / "brought").exists()


def test_a_teams_secrets_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    first = kept_secrets(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept_secrets(file) == first
    assert len({first.prefect, first.tracking_admin, first.tracking_worker, first.postgres, first.s3_secret}) == 5
