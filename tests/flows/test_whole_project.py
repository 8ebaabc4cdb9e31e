"""This project as a newcomer has it, with tiny data and a tiny model: reproduce, DVC, and the README's commands."""

import json
import os
import re
import shlex
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from prefect.settings import PREFECT_API_URL

from benchmarks.scores.projects import git
from tests.support.running_project import PROJECT, free_port
from tests.support.tiny_project import LABELS, copy_with_tiny_parts, surroundings, write_rows

pytestmark = pytest.mark.full

README = (PROJECT / "README.md").read_text(encoding="utf-8")
SCRIPTS = sysconfig.get_path("scripts")
SERVE_SECONDS = 120
# `up` has its own tests; the first lines of README set up what CI set up already; an S3 bucket is nobody's to name.
REFUSABLE = ("promote", "override", "approve", "rollback")
ELSEWHERE = ("make", ".", "curl", "graftline up", "MLFLOW_TRACKING_URI=", "dvc push")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Path:
    """The working tree as a repository of its own, whose first commit names the first of two data versions."""
    root = copy_with_tiny_parts(tmp_path_factory.mktemp("whole") / "project")
    new_data(root, rows=280)
    return root


@pytest.fixture(scope="module")
def versions(project: Path) -> list[dict[str, object]]:
    """Two registered versions, each from its own commit and data version."""
    first = adapt(project)
    new_data(project, rows=500)
    return [first, adapt(project)]


def test_grown_data_make_a_second_version_compared_with_the_first_on_the_same_rows(
    versions: list[dict[str, object]],
) -> None:
    first, second = versions
    assert (first["version"], second["version"]) == (1, 2)
    assert first["data_version"] != second["data_version"]
    assert any("version 1" in reason for reason in second["reasons"])  # type: ignore[attr-defined]


def test_the_version_of_an_older_commit_and_older_data_is_reproduced_with_equal_digests(
    project: Path, versions: list[dict[str, object]]
) -> None:
    # README's command does it with the champion.
    done = run(project, "graftline reproduce reviews --version 1 --json")
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["equal"] is True
    assert result["digests"]["weights_sha256"] == versions[0]["weights_sha256"]


def test_a_version_whose_weights_were_other_ones_is_not_reproduced(
    project: Path, versions: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    store = f"sqlite:///{project / 'mlflow' / 'mlflow.db'}"
    client = MlflowClient(store, registry_uri=store)  # otherwise the registry of whatever test ran before
    honest = str(versions[0]["weights_sha256"])
    client.set_model_version_tag("reviews", "1", "graftline.weights_sha256", "0" * 64)
    try:
        done = run(project, "graftline reproduce reviews --version 1", expected=(5,))
    finally:
        client.set_model_version_tag("reviews", "1", "graftline.weights_sha256", honest)
    assert "weights_sha256 differs first: was 000000000000" in done.stderr


def test_dvc_repeats_nothing_that_is_unchanged_and_shows_metrics_and_plots(
    project: Path, versions: list[dict[str, object]]
) -> None:
    run(project, "dvc repro")
    assert "didn't change" in run(project, "dvc repro").stdout
    metrics = json.loads(run(project, "dvc metrics show --json").stdout)
    assert metrics[""]["data"]["reports/metrics.json"]["data"]["accuracy"]["value"] > 0.5
    run(project, "dvc plots show")
    assert "confusion" in (project / "dvc_plots" / "index.html").read_text(encoding="utf-8")


def test_dvc_runs_an_experiment_with_another_setting(project: Path, versions: list[dict[str, object]]) -> None:
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--allow-empty", "--message", "what dvc noted")
    run(project, "dvc exp run --set-param adaptation.epochs=2")
    assert yaml.safe_load((project / "params.yaml").read_text())["adaptation"]["epochs"] == 2
    git(project, "checkout", "--quiet", "params.yaml")


@pytest.mark.parametrize("command", [c for c in (
    line.partition("  #")[0].strip() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
) if c and not c.startswith(ELSEWHERE)])  # fmt: skip
def test_the_commands_of_the_readme_work(project: Path, versions: list[dict[str, object]], command: str) -> None:
    # These may have nothing to do here; then the refusal is the right answer.
    refusable = command.startswith(
        tuple(f"graftline {verb}" for verb in ("promote", "override", "approve", "rollback"))
    )
    for part in command.split("&&"):
        if not part.strip().startswith(ELSEWHERE):
            run(project, part.strip(), expected=(0, 6) if refusable else (0,))


def test_the_champion_is_served_and_answers_a_curl_with_raw_text(
    project: Path, versions: list[dict[str, object]]
) -> None:
    serve, ask = (line for line in README.splitlines() if line.startswith(("MLFLOW_TRACKING_URI=", "curl")))
    variable, _, command = serve.partition(" ")
    port = str(free_port())
    name, _, uri = variable.partition("=")
    with subprocess.Popen(
        shlex.split(command.replace("5001", port)), cwd=project, env=environment() | {name: uri},
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
    """A new version of the data, made and committed as the README says."""
    write_rows(root, rows)
    run(root, "dvc add data")
    run(root, "dvc push")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", f"{rows} rows")


def adapt(root: Path) -> dict[str, object]:
    result: dict[str, object] = json.loads(run(root, "graftline adapt --json").stdout.splitlines()[-1])
    return result


def run(root: Path, command: str, expected: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        shlex.split(command), cwd=root, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode in expected, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def environment() -> dict[str, str]:
    """As in a shell where the virtual environment is active, with a person for git, and with a Prefect server.

    Without one every command would start its own, which takes longer than most of them; test_cli.py has that.
    """
    person = {
        f"GIT_{role}_{what}": f"test@{role}.localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    server = str(PREFECT_API_URL.value())
    return surroundings(PATH=os.pathsep.join([SCRIPTS, os.environ["PATH"]]), PREFECT_API_URL=server, **person)


def wait_for(page: str) -> None:
    end = time.monotonic() + SERVE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(page, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < end, f"{page} does not answer"
            time.sleep(0.5)
