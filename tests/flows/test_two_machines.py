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

from graftline.tasks.state.shared import STATE
from tests.support.running_project import wait_until
from tests.support.servers import S3Server, client_of, running_mlflow, running_s3
from tests.support.tiny_project import MODEL, graftline, surroundings, write_project

pytestmark = pytest.mark.full

BUCKET, WAIT_SECONDS = "team", 240
# Long enough to be killed in.
EPOCHS = "adaptation.epochs=60"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as running:
        client_of(running).create_bucket(Bucket=BUCKET)
        yield running


@pytest.fixture(scope="module")
def team(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """What a machine is told of the team's servers."""
    folder = tmp_path_factory.mktemp("mlflow")
    with running_mlflow(folder, artifacts=f"s3://{BUCKET}/mlflow", environment=s3.environment) as address:
        yield {**s3.environment, "MLFLOW_TRACKING_URI": address, STATE: f"s3://{BUCKET}/state"}


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("clones")
    first = write_project(folder / "first")
    return first, shutil.copytree(first, folder / "second"), shutil.copytree(first, folder / "third")


def adapt(root: Path, **environment: str) -> dict[str, Any]:
    done = graftline(root, "adapt", "--json", "--set", EPOCHS, **environment)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def kill_in_training(root: Path, s3: S3Server, team: Mapping[str, str]) -> None:
    """Start a run, and end all its processes once a checkpoint of its training has reached the bucket."""
    process = subprocess.Popen(
        [sys.executable, "-m", "graftline.flows", "adapt", "--set", EPOCHS],
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
    finished = adapt(second, **team)
    assert finished["steps"]["validate_data"] == "reused"
    assert finished["steps"]["fine_tune"] == "ran"
    assert unfinished(s3) == []
    undisturbed = adapt(alone)
    equal = ("weights_sha256", "predictions_sha256", "verdict", "scores", "version")
    assert [finished[name] for name in equal] == [undisturbed[name] for name in equal]
    # The first machine, back again, has nothing left to do, and there is one version.
    again = adapt(first, **team)
    assert set(again["steps"].values()) == {"reused"}
    assert (again["version"], again["run_id"]) == (finished["version"], finished["run_id"])
    verified = graftline(first, "history", MODEL, "--verify", **team)
    assert verified.returncode == 0, verified.stderr
