"""This project as a newcomer has it, with tiny data and a tiny model: reproduce, DVC, the documentation's commands."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from benchmarks.scores.projects import git
from graftline.flows.cli import app
from tests.support.running_project import PROJECT, free_port
from tests.support.shell import shell_environment, wait_for
from tests.support.tiny_project import LABELS, copy_with_tiny_parts, forget_servers, write_rows

pytestmark = pytest.mark.full

HOW_TO = PROJECT / "docs" / "how-to"
PAGES = [PROJECT / "README.md"] + [
    HOW_TO / f"{name}.md" for name in ("policy-and-approval", "sign-the-history", "s3-and-servers")
]
SERVING = (HOW_TO / "serve.md").read_text(encoding="utf-8")
# `up`, `team`, `serve` and `deploy` have their own tests, so has the tutorial, where `init` is at home; the first lines
# of README set up what CI set up already; an S3 bucket is nobody's to name, nor is a server or the place of a key.
ELSEWHERE = (
    "make", ".", "pip install", "graftline up", "graftline init", "graftline deploy", "graftline serve",
    "graftline team", "dvc push", "export", "prefect",
    "openssl", "chmod",
)  # fmt: skip
LINES = (
    line.partition("  #")[0].strip()
    for page in PAGES
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
)
COMMANDS: list[str] = list(dict.fromkeys(line for line in LINES if line and not line.startswith(ELSEWHERE)))


def the_command(*words: str) -> str:
    """The one command that holds the words."""
    (found,) = (command for command in COMMANDS if all(word in command for word in words))
    return found


# Whole runs of the line, each made once for all tests here.
ANOTHER_SETTING, AS_A_STAGE = the_command("graftline adapt", "--set"), the_command("dvc repro")
AS_JSON, REPRODUCE = the_command("graftline adapt", "--json"), the_command("graftline reproduce")
RUNS = (ANOTHER_SETTING, AS_A_STAGE, AS_JSON, REPRODUCE)
# These may have nothing to do here; then the refusal is the right answer.
REFUSABLE = tuple(f"graftline {verb}" for verb in ("promote", "override", "approve", "rollback"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Path:
    """The working tree as a repository of its own, whose first commit names the first of two data versions."""
    root = copy_with_tiny_parts(tmp_path_factory.mktemp("whole") / "project")
    new_data(root, rows=280)
    return root


@pytest.fixture(scope="module")
def first(project: Path) -> dict[str, Any]:
    """The version that a stage of DVC makes; the command itself then finds every step done."""
    run(project, AS_A_STAGE)
    return last_line(run(project, AS_JSON))


@pytest.fixture(scope="module")
def experiment(project: Path, first: dict[str, Any]) -> dict[str, Any]:
    """The settings that an experiment of DVC on more data left in params.yaml."""
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--allow-empty", "--message", "what dvc noted")
    new_data(project, rows=500)
    run(project, f"dvc exp run --set-param {ANOTHER_SETTING.partition('--set ')[2]}")
    left: dict[str, Any] = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    git(project, "checkout", "--quiet", "params.yaml")
    return left


@pytest.fixture(scope="module")
def versions(project: Path, first: dict[str, Any], experiment: dict[str, Any]) -> list[dict[str, Any]]:
    """Two registered versions, each from its own commit and data version."""
    return [first, last_line(run(project, f"{ANOTHER_SETTING} --json"))]


@pytest.fixture(scope="module")
def reproduced(project: Path, versions: list[dict[str, Any]]) -> str:
    """What the command says of the champion, which is the first version."""
    return run(project, REPRODUCE).stdout


def test_dvc_repeats_nothing_that_is_unchanged_and_shows_metrics_and_plots(
    project: Path, first: dict[str, Any]
) -> None:
    assert set(first["steps"].values()) == {"reused"}
    assert "didn't change" in run(project, AS_A_STAGE).stdout
    metrics = json.loads(run(project, "dvc metrics show --json").stdout)
    assert metrics[""]["data"]["reports/metrics.json"]["data"]["accuracy"]["value"] > 0.5
    run(project, "dvc plots show")
    assert "confusion" in (project / "dvc_plots" / "index.html").read_text(encoding="utf-8")


def test_grown_data_make_a_second_version_compared_with_the_first_on_the_same_rows(
    versions: list[dict[str, Any]],
) -> None:
    first, second = versions
    assert (first["version"], second["version"]) == (1, 2)
    assert first["data_version"] != second["data_version"]
    assert any("version 1" in reason for reason in second["reasons"])


def test_the_version_of_an_older_commit_and_older_data_is_reproduced_with_equal_digests(
    versions: list[dict[str, Any]], reproduced: str
) -> None:
    assert "reviews version 1: reproduced, everything is equal" in reproduced
    assert digests_in(reproduced)["weights_sha256"] == versions[0]["weights_sha256"]


def test_a_version_whose_weights_were_other_ones_is_not_reproduced(
    project: Path, versions: list[dict[str, Any]], reproduced: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    store = f"sqlite:///{project / 'mlflow' / 'mlflow.db'}"
    client = MlflowClient(store, registry_uri=store)  # otherwise the registry of whatever test ran before
    # A repetition would give the same again: that is what the test before has shown.
    monkeypatch.setattr("graftline.flows.reproduce.repeat", lambda *_: digests_in(reproduced))
    client.set_model_version_tag("reviews", "1", "graftline.weights_sha256", "0" * 64)
    try:
        done = in_process(project, "graftline reproduce reviews --version 1")
    finally:
        client.set_model_version_tag("reviews", "1", "graftline.weights_sha256", versions[0]["weights_sha256"])
    assert done.exit_code == 5
    assert "weights_sha256 differs first: was 000000000000" in done.stderr


def test_dvc_runs_an_experiment_with_another_setting(
    experiment: dict[str, Any], versions: list[dict[str, Any]]
) -> None:
    assert experiment["adaptation"]["strategy"] == "feature_extraction"
    assert set(versions[1]["steps"].values()) == {"reused"}  # of the same setting on the command line


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in RUNS])
def test_the_commands_of_the_documentation_work(project: Path, versions: list[dict[str, Any]], command: str) -> None:
    for part in map(str.strip, command.split("&&")):
        if part.startswith(ELSEWHERE):
            continue
        if not part.startswith("graftline") or part.endswith("--help"):
            run(project, part)
        else:
            done = in_process(project, part)
            assert done.exit_code in ((0, 6) if part.startswith(REFUSABLE) else (0,)), done.output


def test_the_champion_is_served_and_answers_a_curl_with_raw_text(project: Path, versions: list[dict[str, Any]]) -> None:
    """By MLflow's own server, for which a version is a plain pyfunc; `graftline serve` has tests of its own."""
    serve = next(line for line in SERVING.splitlines() if line.startswith("MLFLOW_TRACKING_URI="))
    ask = next(line for line in SERVING.splitlines() if line.startswith("curl"))
    variable, _, command = serve.partition(" ")
    port = str(free_port())
    name, _, uri = variable.partition("=")
    with subprocess.Popen(
        shlex.split(command.replace("5001", port)), cwd=project, env=shell_environment() | {name: uri},
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as server:  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{port}/ping")
            answered = run(project, ask.replace("5001", port).replace("curl", "curl -sS", 1))
        finally:
            os.killpg(server.pid, 15)
    (prediction,) = json.loads(answered.stdout)["predictions"]
    assert prediction["label"] in LABELS
    assert sum(prediction["probabilities"].values()) == pytest.approx(1)


def new_data(root: Path, *, rows: int) -> None:
    """A new version of the data, made and committed as docs/how-to/own-data.md says."""
    write_rows(root, rows)
    run(root, "dvc add data")
    run(root, "dvc push")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", f"{rows} rows")


def last_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON with which a command ended."""
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def digests_in(summary: str) -> Mapping[str, str]:
    """Of a reproduction, by their names."""
    return dict(line.split() for line in summary.splitlines() if "_sha256 " in line)


def run(root: Path, command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        shlex.split(command), cwd=root, env=shell_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def in_process(root: Path, command: str) -> Result:
    """A verb without a process of its own: most of its time would go by until it has imported everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        forget_servers(patch)
        done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert "Traceback" not in done.stderr
    return done
