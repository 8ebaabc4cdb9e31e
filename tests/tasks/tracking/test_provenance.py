"""What it takes to repeat a run is written down, and nothing secret with it."""

import importlib.metadata
import json
from pathlib import Path

import pytest
import torch

from benchmarks.scores.projects import git
from graftline.digests import file_sha256
from graftline.settings import read_settings
from graftline.tasks.own_code import all_code_sha256
from graftline.tasks.tracking.git import refusal
from graftline.tasks.tracking.provenance import processor, provenance, unrepeatable
from graftline.tasks.workspace import Workspace
from tests.support.tiny_project import write_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("provenance") / "project")


def made(root: Path, seed: int = 5, device: str = "cpu") -> dict[str, object]:
    settings = read_settings(root / "params.yaml", [f"adaptation.seed={seed}", f"adaptation.device={device}"])
    return dict(provenance(Workspace(root), settings, threads=3))


def test_commit_settings_seed_threads_locks_and_code_are_recorded(project: Path) -> None:
    found = made(project)
    assert found["git_commit"] == git(project, "rev-parse", "HEAD")
    assert (found["seed"], found["threads"], found["code_sha256"]) == (5, 3, all_code_sha256())
    assert found["locks"] == {"base_models.lock": file_sha256(project / "base_models.lock")}
    assert found["settings"] == read_settings(project / "params.yaml", ["adaptation.seed=5"]).model_dump(mode="json")


def test_every_installed_library_is_recorded_with_its_version(project: Path) -> None:
    libraries = made(project)["libraries"]
    assert isinstance(libraries, dict)
    for name in ("torch", "transformers", "mlflow", "prefect", "dvc"):
        assert libraries[name] == importlib.metadata.version(name)


def test_the_processor_is_recorded_by_its_name(project: Path) -> None:
    assert made(project)["processor"] == processor() != ""


def test_the_gpu_is_recorded_by_its_name_where_it_adapts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graftline.settings.of_machine.may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    for there, name in ((False, None), (True, "GPU of cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert made(project, device="auto")["gpu"] == name


def test_a_tree_is_clean_until_a_file_of_it_changes(project: Path) -> None:
    assert made(project)["git_clean"] is True
    lock = project / "base_models.lock"
    content = lock.read_bytes()
    lock.write_bytes(content + b"\n")
    assert made(project)["git_clean"] is False
    lock.write_bytes(content)


def test_a_file_that_git_does_not_know_makes_the_tree_unclean(project: Path) -> None:
    (project / "new.py").touch()
    assert made(project)["git_clean"] is False
    (project / "new.py").unlink()


def test_what_dvc_notes_during_a_run_does_not_make_the_tree_unclean(project: Path) -> None:
    (project / "dvc.lock").touch()
    assert made(project)["git_clean"] is True
    (project / "dvc.lock").unlink()


def test_a_project_outside_of_git_has_no_commit(tmp_path: Path, project: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((project / "params.yaml").read_bytes())
    assert made(tmp_path)["git_commit"] is None
    assert made(tmp_path)["git_clean"] is False


def test_nothing_of_the_environment_and_no_path_of_this_machine_is_recorded(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-a-test")
    text = json.dumps(made(project))
    assert "s3cr3t-of-a-test" not in text
    assert str(project) not in text
    assert str(Path.home()) not in text


def test_a_commit_that_git_refuses_to_tell_is_none_with_its_reason_and_gits_remedy(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made(project)["git_refusal"] is None
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as in a container that mounts it
    found = made(project)
    assert found["git_commit"] is None
    why = unrepeatable(None, str(found["git_refusal"]))
    assert why is not None
    assert "dubious ownership" in why
    assert "git config --global --add safe.directory" in why
    assert str(project) not in why


def test_whatever_keeps_git_from_telling_is_said_and_that_there_is_no_commit_yet_is_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal(tmp_path) is None
    (tmp_path / ".git").write_text(f"gitdir: {tmp_path}/gone/.git/worktrees/a\n")  # a worktree without its repository
    assert "git refuses to tell the commit (not a git repository: ...)" in str(refusal(tmp_path))
    (tmp_path / ".git").unlink()
    git(tmp_path, "init", "--quiet")
    (tmp_path / "sub").mkdir()
    assert refusal(tmp_path / "sub") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no git on this machine" in str(refusal(tmp_path / "sub"))
