"""The whole line on a tiny project: what it gives back, that it runs once, and what a kill or a second start costs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from prefect.settings import PREFECT_API_URL
from typer.testing import CliRunner

from benchmarks.scores.projects import git
from graftline.flows.cli import app
from graftline.tasks.registry.versions import champion_of
from graftline.tasks.tracking.server import connect
from graftline.tasks.workspace import Workspace
from tests.support.tiny_project import MODEL, PROJECT_POLICY, ROWS, surroundings, write_policy, write_project

KEYS = {
    "model", "version", "verdict", "reasons", "scores", "rows", "data_version", "base_model_sha256", "weights_sha256",
    "run_id", "report", "steps", "seconds",
}  # fmt: skip
STEPS = ("validate_data", "fetch_model", "fine_tune", "baselines", "evaluate_model", "register_model", "decide")
pytestmark = pytest.mark.full

SECRET = "s3cr3t/of+a=test"
# Of the tiny project's settings: enough that a training can be killed half-way.
EPOCHS = 12

Result = dict[str, Any]


@dataclass(frozen=True)
class Project:
    """A project that was run twice, and what was in its registry then."""

    root: Path
    first: Result
    second: Result
    runs: int
    versions: int
    champion: int | None


def adapt(*arguments: str) -> Result:
    """`graftline adapt` in the folder that this process is in."""
    done = CliRunner().invoke(app, ["adapt", "--json", *arguments])
    assert done.exit_code == 0, done.output
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def project(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    root = write_project(tmp_path_factory.mktemp("adapt") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.chdir(root)
        first, second = adapt(), adapt()
        yield Project(root, first, second, len(runs_in(root)), versions_in(root), champion_of(MODEL))


@pytest.fixture
def root(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that nothing was run in yet, in which this process is."""
    copy = untouched_copy(project, tmp_path / "project")
    # MLflow itself notes there which store this process used last.
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(copy)
    return copy


def untouched_copy(project: Project, target: Path) -> Path:
    shutil.copytree(project.root, target, ignore=shutil.ignore_patterns("artifacts", "reports", "mlflow"))
    write_policy(target, **PROJECT_POLICY)
    return target


def client(root: Path) -> MlflowClient:
    connect(Workspace(root))
    return MlflowClient()


def runs_in(root: Path) -> list[str]:
    mlflow = client(root)
    (experiment,) = (found for found in mlflow.search_experiments() if found.name == MODEL)
    return [run.info.run_id for run in mlflow.search_runs([experiment.experiment_id])]


def versions_in(root: Path) -> int:
    return len(client(root).search_model_versions(f"name = '{MODEL}'"))


def test_the_result_has_every_name_that_scripts_are_written_against(project: Project) -> None:
    result = project.first
    assert project.first.keys() >= KEYS
    assert (result["model"], result["version"], result["verdict"]) == (MODEL, 1, "PROMOTE")
    assert result["reasons"] == ["the first model, and it reaches every floor"]
    assert all(score.keys() == {"value", "low", "high"} for score in result["scores"].values())
    assert result["rows"] == {"read": ROWS + 1, "accepted": ROWS, "quarantined": 1, "twins": 0}
    assert result["steps"] == dict.fromkeys(STEPS, "ran")
    assert Path(result["report"]).is_file()
    assert result["data_version"] + ".dir" in (project.root / "data.dvc").read_text()
    assert all(len(result[name]) == 64 for name in ("base_model_sha256", "weights_sha256"))


def test_a_second_run_with_nothing_changed_runs_no_step_and_makes_nothing(project: Project) -> None:
    assert project.second["steps"] == dict.fromkeys(STEPS, "reused")
    changing = {"steps", "seconds", "summary"}
    assert {name: value for name, value in project.second.items() if name not in changing} == {
        name: value for name, value in project.first.items() if name not in changing
    }
    assert "nothing changed since: no step ran again" in project.second["summary"]
    assert (project.runs, project.versions) == (1, 1)


def test_a_run_that_has_to_look_for_itself_says_what_was_known_without_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (receipt,) = (project.root / "artifacts" / "runs").glob("*.receipt")
    receipt.unlink()
    looked = adapt()
    assert receipt.exists()
    assert {**looked, "seconds": 0} == {**project.second, "seconds": 0}


def test_the_first_model_is_champion(project: Project) -> None:
    assert project.champion == 1


def test_mlflow_counts_the_same_rows_and_none_is_lost(project: Project) -> None:
    params = client(project.root).get_run(project.first["run_id"]).data.params
    rows = {name: int(params[f"rows.{name}"]) for name in project.first["rows"]}
    assert rows == project.first["rows"]
    assert rows["read"] == rows["accepted"] + rows["quarantined"]


def test_every_epoch_is_in_mlflow(project: Project) -> None:
    history = client(project.root).get_metric_history(project.first["run_id"], "validation/accuracy")
    assert [point.step for point in history] == list(range(1, EPOCHS + 1))


def test_the_run_records_what_it_takes_to_repeat_it(project: Project) -> None:
    path = client(project.root).download_artifacts(project.first["run_id"], "provenance.json")
    recorded = json.loads(Path(path).read_text(encoding="utf-8"))
    assert recorded["git_commit"] == git(project.root, "rev-parse", "HEAD")
    assert recorded["git_clean"] is True
    assert recorded["data_version"] == project.first["data_version"]
    assert recorded["base_model_sha256"] == project.first["base_model_sha256"]
    assert (recorded["settings"]["registry"]["model"], recorded["seed"], recorded["threads"]) == (MODEL, 0, 1)
    assert recorded["libraries"]["torch"]
    assert recorded["processor"]


def test_no_secret_of_the_environment_is_in_anything_that_a_run_leaves(project: Project) -> None:
    written = [path for path in project.root.rglob("*") if path.is_file()]
    assert {"mlflow.db", "report.html", "provenance.json"} <= {path.name for path in written}
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


def test_another_seed_makes_a_second_version_that_is_compared_on_the_same_rows(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first, second = project.first, adapt("--set", "adaptation.seed=1")
    assert (first["version"], second["version"]) == (1, 2)
    assert second["test_sha256"] == first["test_sha256"]
    assert second["weights_sha256"] != first["weights_sha256"]
    assert second["steps"]["validate_data"] == "reused"
    assert "champion version 1" in second["reasons"][0]
    assert client(project.root).get_model_version(MODEL, "2").tags["graftline.compared_with"] == "1"


def test_modified_data_bars_the_promotion_also_by_hand(root: Path) -> None:
    with (root / "data" / "rows.csv").open("a") as file:
        file.write("r999,a fine lovely plot was with the actor,good,s0\n")
    result = adapt("--set", "data.allow_modified=true")
    assert (result["verdict"], result["data_modified"]) == ("HOLD", True)
    assert "its data differs from the version that data.dvc names (rows.csv (modified))" in result["reasons"]
    connect(Workspace(root))
    assert champion_of(MODEL) is None
    refused = CliRunner().invoke(app, ["promote", MODEL, "--version", "1"])
    assert refused.exit_code == 6
    assert "tiny version 1: has the verdict HOLD, expected PROMOTE (its data differs" in refused.stderr
    refused = CliRunner().invoke(app, ["override", MODEL, "--version", "1", "--reason", "a test"])
    assert refused.exit_code == 6
    assert "tiny version 1: may not be promoted: its data differs" in refused.stderr


@dataclass(frozen=True)
class StartedTwice:
    """A project whose policy wants a person's word, in which one run was started in two processes at once."""

    root: Path
    results: list[Result]
    said: list[str]


@pytest.fixture(scope="module")
def started_twice_once(project: Project, tmp_path_factory: pytest.TempPathFactory) -> StartedTwice:
    root = untouched_copy(project, tmp_path_factory.mktemp("twice") / "project")
    write_policy(root, **PROJECT_POLICY, approval_within_hours=1)
    processes = [start(root), start(root)]
    ended = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    return StartedTwice(root, [json.loads(out.splitlines()[-1]) for out, _ in ended], [error for _, error in ended])


@pytest.fixture
def started_twice(started_twice_once: StartedTwice, monkeypatch: pytest.MonkeyPatch) -> StartedTwice:
    """The same, with this process in its folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(started_twice_once.root)
    return started_twice_once


def test_the_same_run_started_twice_at_once_makes_one_version(started_twice: StartedTwice) -> None:
    results, root = started_twice.results, started_twice.root
    assert [result["version"] for result in results] == [1, 1]
    assert sorted(result["steps"]["fine_tune"] for result in results) == ["ran", "reused"]
    assert (len(runs_in(root)), versions_in(root)) == (1, 1)


def test_a_run_without_a_deployment_that_needs_approval_names_the_command_and_ends_on_hold(
    started_twice: StartedTwice,
) -> None:
    for held, said in zip(started_twice.results, started_twice.said, strict=True):
        assert held["verdict"] == "HOLD"
        assert held["reasons"][0].startswith("the gate says PROMOTE, but the policy wants a person's approval, until ")
        assert f"graftline approve {MODEL} --version 1 --by NAME --reason" in said
    connect(Workspace(started_twice.root))
    assert champion_of(MODEL) is None
    approved = CliRunner().invoke(app, ["approve", MODEL, "--version", "1", "--by", "Ada", "--reason", "I looked"])
    assert approved.exit_code == 0, approved.output
    assert champion_of(MODEL) == 1
    again = adapt()
    assert (again["verdict"], again["reasons"][0]) == ("PROMOTE", "approved by Ada: I looked")
    assert again["steps"] == dict.fromkeys(STEPS, "reused")


def start(root: Path) -> "subprocess.Popen[str]":
    """`graftline adapt` in a process group of its own; the temporary server of a run alone has its test elsewhere."""
    return subprocess.Popen(
        [sys.executable, "-m", "graftline.flows", "adapt", "--json"],
        cwd=root, env=surroundings(PREFECT_API_URL=str(PREFECT_API_URL.value())),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_a_training_that_was_killed_goes_on_and_ends_with_the_same_weights(project: Project, root: Path) -> None:
    process = start(root)
    while not list((root / "artifacts" / "fine_tune").glob(".*.partial/checkpoints/step-*")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list((root / "artifacts" / "fine_tune").glob("[!.]*"))
    resumed = adapt()
    assert (resumed["version"], len(runs_in(root))) == (1, 1)
    assert resumed["weights_sha256"] == project.first["weights_sha256"]
    assert resumed["predictions_sha256"] == project.first["predictions_sha256"]
