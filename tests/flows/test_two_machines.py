"""Two clones that share an MLflow server and a bucket: what one of them began, the other one finishes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL

from graftline.tasks.state.shared import STATE
from tests.support.running_project import wait_until
from tests.support.servers import S3Server, client_of, running_mlflow, running_s3
from tests.support.tiny_project import MODEL, graftline, surroundings, write_project

pytestmark = pytest.mark.full

BUCKET, WAIT_SECONDS = "team", 240
# Long enough to be killed in.
LONG = ("--set", "adaptation.epochs=30")
SHORT = ("--set", "adaptation.epochs=12")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as running:
        client_of(running).create_bucket(Bucket=BUCKET)
        yield running


@pytest.fixture(scope="module")
def team(s3: S3Server, tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Iterator[Mapping[str, str]]:
    """What a machine is told of the team's servers."""
    folder = tmp_path_factory.mktemp("mlflow")
    with running_mlflow(folder, artifacts=f"s3://{BUCKET}/mlflow", environment=s3.environment) as address:
        yield {**s3.environment, "MLFLOW_TRACKING_URI": address, STATE: f"s3://{BUCKET}/state", **prefect_address()}


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("clones")
    first = write_project(folder / "first")
    return first, shutil.copytree(first, folder / "second"), shutil.copytree(first, folder / "third")


def prefect_address() -> dict[str, str]:
    """The server of the tests: one for each run takes seconds to start."""
    return {"PREFECT_API_URL": str(PREFECT_API_URL.value())}


def adapt(root: Path, *options: str, **environment: str) -> dict[str, Any]:
    done = graftline(root, "adapt", "--json", *options, **environment)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def kill_in_training(root: Path, s3: S3Server, team: Mapping[str, str]) -> None:
    """Start a run, and end all its processes once a checkpoint of its training has reached the bucket."""
    process = subprocess.Popen(
        [sys.executable, "-m", "graftline.flows", "adapt", *LONG],
        cwd=root,
        env=surroundings(**team),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: bool(unfinished(s3)) or process.poll() is not None, WAIT_SECONDS)
        assert process.poll() is None, "it ended before it could be killed"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def unfinished(s3: S3Server) -> list[str]:
    found = client_of(s3).list_objects_v2(Bucket=BUCKET, Prefix="state/unfinished/fine_tune/")
    return [one["Key"] for one in found.get("Contents", []) if one["Key"].endswith("/listing.json")]


def test_a_run_that_was_killed_on_one_machine_is_finished_by_the_other_with_equal_digests(
    clones: tuple[Path, Path, Path], s3: S3Server, team: Mapping[str, str]
) -> None:
    first, second, alone = clones
    kill_in_training(first, s3, team)
    assert not list((first / "artifacts" / "fine_tune").glob("[0-9a-f]*"))
    finished = adapt(second, *LONG, **team)
    assert finished["steps"]["validate_data"] == "reused"
    assert finished["steps"]["fine_tune"] == "ran"
    assert unfinished(s3) == []
    undisturbed = adapt(alone, *LONG, **prefect_address())
    equal = ("weights_sha256", "predictions_sha256", "verdict", "scores", "version")
    assert [finished[name] for name in equal] == [undisturbed[name] for name in equal]
    # The first machine, back again, has nothing left to do, and there is one version.
    again = adapt(first, *LONG, **team)
    assert set(again["steps"].values()) == {"reused"}
    assert (again["version"], again["run_id"]) == (finished["version"], finished["run_id"])
    verified = graftline(first, "history", MODEL, "--verify", **team)
    assert verified.returncode == 0, verified.stderr


@pytest.mark.long  # tests/tasks/registry/test_moving.py moves one without servers
def test_a_local_history_is_moved_to_the_team_whole_and_goes_on_there(
    tmp_path: Path, s3: S3Server, team: Mapping[str, str]
) -> None:
    project = write_project(tmp_path / "project", model="moved")
    alone = adapt(project, *SHORT, **prefect_address())
    adapt(project, *SHORT, "--set", "adaptation.seed=1", **prefect_address())
    kept = {path.name: path.read_bytes() for path in (project / "mlflow" / "history" / "moved").glob("0*")}
    moved = graftline(project, "move-history", "moved", "--json", **team)
    assert moved.returncode == 0, moved.stderr
    told = json.loads(moved.stdout.splitlines()[-1])
    assert (told["records"], told["versions"], told["runs"]) == (2, 2, 2)
    # Byte for byte, by the same names.
    there = {name: client_of(s3).get_object(Bucket=BUCKET, Key=f"state/history/moved/{name}")["Body"] for name in kept}
    assert {name: body.read() for name, body in there.items()} == kept

    clone = shutil.copytree(project, tmp_path / "clone", ignore=shutil.ignore_patterns("artifacts", "history", "*.db*"))
    verified = graftline(clone, "history", "moved", "--verify", **team)
    assert verified.returncode == 0, verified.stderr
    assert "2 records checked" in verified.stdout
    # The very run: nothing is trained again, and no second version comes of it.
    again = adapt(clone, *SHORT, **team)
    assert (again["version"], again["verdict"], again["steps"]["register_model"]) == (1, "PROMOTE", "reused")
    assert again["weights_sha256"] == alone["weights_sha256"]

    here = graftline(project, "history", "moved")
    assert here.returncode == 6
    assert "its history was moved to s3://team/state" in here.stderr
    assert graftline(project, "history", "moved", **team).returncode == 0
    twice = graftline(clone, "move-history", "moved", **team)
    assert (twice.returncode, "holds no records, so there is nothing to move" in twice.stderr) == (6, True)


def test_moving_without_naming_the_team_is_refused(clones: tuple[Path, Path, Path]) -> None:
    done = graftline(clones[0], "move-history", MODEL)
    assert done.returncode == 2
    assert "MLFLOW_TRACKING_URI and GRAFTLINE_STATE have to name the team's registry and state" in done.stderr
