"""A running `graftline team` with a tiny project, and a worker that has nothing of it but the addresses."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.scores.projects import git
from graftline.flows.servers.services import service
from tests.support.running_project import MARK, PROJECT, marked_processes, wait_until
from tests.support.shell import own_code
from tests.support.tiny_project import surroundings, write_project

START_SECONDS = 240
RUN_SECONDS = 180
IGNORED = ("/artifacts/", "/reports/", "/mlflow/*", "!/mlflow/promotion.yaml", "!/mlflow/server.yaml", "/data/",
           "/.graftline/", "/.dvc/tmp", "/.dvc/cache")  # fmt: skip


@dataclass(frozen=True)
class Servers:
    """A started `graftline team`."""

    project: Path
    folder: Path
    process: subprocess.Popen[str]
    said: Path
    mark: str

    @property
    def environment(self) -> dict[str, str]:
        """What its file tells another machine."""
        lines = (self.folder / "environment").read_text().splitlines()
        pairs = (shlex.split(line.removeprefix("export "))[0].partition("=") for line in lines)
        return {name: value for name, _, value in pairs}

    def prefect(self, what: str, verb: str = "POST", **body: Any) -> Any:
        """An answer of Prefect's API: to a POST, or another verb, where something is sent."""
        own = self.environment
        name, _, password = own["PREFECT_API_AUTH_STRING"].partition(":")
        with httpx.Client(base_url=own["PREFECT_API_URL"], auth=(name, password), timeout=30) as client:
            token = client.get("/csrf-token", params={"client": "test"}).json()["token"]
            headers = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "test"}
            answer = client.request(verb, what, json=body, headers=headers) if body else client.get(what)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def mlflow(self, what: str, account: tuple[str, str] | None, **body: Any) -> httpx.Response:
        """An answer of MLflow's API for an account."""
        address = f"{self.environment['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/{what}"
        return httpx.post(address, json=body, auth=account, timeout=30)

    @property
    def worker(self) -> tuple[str, str]:
        own = self.environment
        return own["MLFLOW_TRACKING_USERNAME"], own["MLFLOW_TRACKING_PASSWORD"]

    @property
    def admin(self) -> tuple[str, str]:
        return "admin", json.loads((self.folder / "secrets.json").read_text())["tracking_admin"]

    def tracked(self) -> list[dict[str, Any]]:
        """MLflow's runs, the newest first."""
        experiments = self.mlflow("experiments/search", self.worker, max_results=100).json()["experiments"]
        ids = [one["experiment_id"] for one in experiments]
        return list(self.mlflow("runs/search", self.worker, experiment_ids=ids).json().get("runs", []))

    def graftline(self, *arguments: str, folder: Path | None = None) -> dict[str, Any]:
        """A verb as someone types it who has sourced the file."""
        done = subprocess.run(
            [sys.executable, "-m", "graftline.flows", *arguments, "--json"], cwd=folder or self.project,
            env=surroundings(**self.environment, **own_code()), capture_output=True, text=True, timeout=RUN_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))


def team_project(root: Path) -> Path:
    """A tiny project with what `graftline team` needs of one."""
    project = write_project(root)
    shutil.copy(PROJECT / "prefect.yaml", project)
    shutil.copy(PROJECT / "mlflow" / "server.yaml", project / "mlflow")
    (project / ".gitignore").write_text("\n".join(IGNORED))
    commit(project, "what `graftline init` would have written")
    return project


@contextmanager
def started(project: Path, folder: Path, ports: list[int]) -> Iterator[Servers]:
    """`graftline team` without workers; whatever happens, nothing outlives the block."""
    mark, said = uuid.uuid4().hex, project.parent / "said"
    options = [f"--{name}-port={port}" for name, port in zip(("prefect", "mlflow", "s3"), ports, strict=True)]
    with said.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "graftline.flows", "team", "--workers=0", f"--data={folder}", *options],
            cwd=project, env=surroundings(**own_code(), **{MARK: mark}), stdout=output, stderr=output, text=True,
        )  # fmt: skip
    try:
        wait_until(lambda: "Ctrl-C stops" in said.read_text() or process.poll() is not None, START_SECONDS)
        assert process.poll() is None, said.read_text()
        yield Servers(project, folder, process, said, mark)
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in marked_processes(mark):
                os.kill(pid, number)
            with suppress(AssertionError):  # the second signal is not refused
                wait_until(lambda: not marked_processes(mark), 60)
        process.wait()


@contextmanager
def worker(servers: Servers, folder: Path) -> Iterator[None]:
    """On "another machine": a folder of its own, and of the first one nothing but the file with the addresses."""
    folder.mkdir()
    own = servers.environment | own_code() | {"GRAFTLINE_PROJECTS": str(folder), "PREFECT_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "local", "--name", "elsewhere"]
    with service("the worker", command, folder=folder, environment=surroundings(**own), log=folder / "log"):
        yield


def commit(project: Path, message: str) -> str:
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", message)
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True
    ).stdout.strip()


def push_data_to_s3(servers: Servers) -> None:
    project, own = servers.project, servers.environment
    dvc(servers, "remote", "add", "--default", "team", "s3://graftline/data")
    dvc(servers, "remote", "modify", "team", "endpointurl", own["AWS_ENDPOINT_URL"])
    dvc(servers, "remote", "modify", "team", "verify", "true")
    dvc(servers, "add", "--quiet", "data")
    dvc(servers, "push", "--quiet")
    commit(project, "data on S3")


def dvc(servers: Servers, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=servers.project, env=surroundings(**servers.environment),
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
