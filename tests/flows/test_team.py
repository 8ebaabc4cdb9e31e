"""`graftline team` and what a team does with it: real Postgres, S3, Prefect and MLflow, and a worker elsewhere."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from mlflow.server import get_app_client

from benchmarks.scores.projects import git
from graftline.flows.servers.services import service
from tests.support.running_project import MARK, PROJECT, marked_processes, wait_until
from tests.support.servers import free_ports
from tests.support.shell import own_code
from tests.support.tiny_project import rows_as_csv, surroundings, write_project

pytestmark = pytest.mark.full

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


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Not in pytest's own folder, which the account of Postgres could not enter."""
    folder = Path(tempfile.mkdtemp(prefix="graftline-team-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def servers(place: Path) -> Iterator[Servers]:
    project = write_project(place / "project")
    shutil.copy(PROJECT / "prefect.yaml", project)
    shutil.copy(PROJECT / "mlflow" / "server.yaml", project / "mlflow")
    (project / ".gitignore").write_text("\n".join(IGNORED))
    commit(project, "what `graftline init` would have written")
    with started(project, place / "servers", free_ports(3)) as running:
        yield running


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


def test_every_door_asks_for_a_password_and_none_is_shown(servers: Servers) -> None:
    own = servers.environment
    assert httpx.get(f"{own['PREFECT_API_URL']}/flows/count").status_code == 401
    assert servers.mlflow("experiments/search", None, max_results=1).status_code == 401
    assert httpx.get(f"{own['AWS_ENDPOINT_URL']}/graftline").status_code == 403
    kept = json.loads((servers.folder / "secrets.json").read_text())
    secrets = [secret.rpartition(":")[2] for secret in kept.values()]
    for path in (servers.said, *(servers.folder / "logs").iterdir()):
        assert not [secret for secret in secrets if secret in path.read_text()], path
    for name in ("secrets.json", "environment", "basic_auth.ini"):
        assert (servers.folder / name).stat().st_mode & 0o077 == 0
    for pid in marked_processes(servers.mark):
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        assert not [secret for secret in secrets if secret in line], line.partition("\0")[0]


def test_who_only_reads_moves_no_alias_until_an_administrator_lets_them(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ("reader", "a password of 24 letters")
    assert servers.mlflow("users/create", servers.admin, username=reader[0], password=reader[1]).is_success
    assert servers.mlflow("registered-models/create", servers.worker, name="guarded").is_success
    made = servers.mlflow("model-versions/create", servers.worker, name="guarded", source="s3://graftline/none")
    assert made.is_success, made.text
    alias = {"name": "guarded", "alias": "champion", "version": "1"}
    assert servers.mlflow("registered-models/alias", reader, **alias).status_code == 403
    assert servers.mlflow("registered-models/alias", servers.worker, **alias).is_success
    # As docs/how-to/team.md has it.
    for name, value in zip(("USERNAME", "PASSWORD"), servers.admin, strict=True):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    accounts: Any = get_app_client("basic-auth", servers.environment["MLFLOW_TRACKING_URI"])
    accounts.grant_user_permission("reader", "registered_model", "guarded", "EDIT")
    assert servers.mlflow("registered-models/alias", reader, **alias).is_success


def test_a_scheduled_run_trains_on_the_pushed_version_elsewhere_and_is_cancelled_and_started_again(
    servers: Servers, place: Path
) -> None:
    project = servers.project
    push_data_to_s3(servers)
    git(place, "init", "--quiet", "--bare", "--initial-branch", "main", "team.git")
    git(project, "remote", "add", "origin", (place / "team.git").as_uri())
    git(project, "push", "--quiet", "origin", "main")
    deployed = servers.graftline("deploy", "--schedule", "* * * * *", "--timezone", "Europe/Berlin")
    assert deployed["repository"] == (place / "team.git").as_uri()
    assert "adapt/tiny" in deployed["deployments"]
    adapt = servers.prefect("deployments/name/adapt/tiny")
    assert str(project) not in json.dumps(adapt)
    pushed = push_another_version(servers)
    version = yaml.safe_load((project / "data.dvc").read_text())["outs"][0]["md5"].removesuffix(".dir")
    with worker(servers, place / "elsewhere"):
        wait_until(lambda: [run for run in servers.tracked() if tag(run, "graftline.data_version")] != [], RUN_SECONDS)
        run = newest(servers, adapt["id"], "RUNNING")
        # Otherwise the next minute's run would go on where this one is stopped.
        (schedule,) = (one for one in adapt["schedules"] if one["slug"] == "planned")
        servers.prefect(f"deployments/{adapt['id']}/schedules/{schedule['id']}", "PATCH", active=False)
        assert [line["run"] for line in servers.graftline("runs")["runs"] if line["state"] == "Running"] == [run["id"]]
        (tracked,) = servers.tracked()
        assert (tag(tracked, "graftline.data_version"), tag(tracked, "graftline.git_commit")) == (version, pushed)
        assert tag(tracked, "graftline.prefect_run") == run["id"]
        assert f"commit {pushed[:12]}" in run["tags"]
        assert {"key": "adaptation.epochs", "value": "900"} in tracked["data"]["params"], "the settings of the commit"
        cancelled = servers.graftline("cancel", run["id"], folder=place / "elsewhere")
        assert cancelled["state"] == "Cancelled"
        wait_until(lambda: not processes_of(run["id"]), 15)  # telling Prefect is the last that they do
        assert [one["info"]["status"] for one in servers.tracked()] == ["KILLED"]
        # As the button of Prefect's page sends it.
        again = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
        assert servers.prefect(f"flow_runs/{run['id']}/set_state", state=again, force=False)["status"] == "ACCEPT"
        wait_until(lambda: servers.tracked()[0]["info"]["status"] == "RUNNING", RUN_SECONDS)
        assert servers.graftline("cancel", run["id"])["state"] == "Cancelled"
        assert servers.graftline("restart", run["id"])["state"] == "AwaitingRetry"


def test_all_of_it_ends_at_ctrl_c(servers: Servers) -> None:
    servers.process.send_signal(signal.SIGINT)
    assert servers.process.wait(90) == 0, servers.said.read_text()
    assert marked_processes(servers.mark) == []


def push_data_to_s3(servers: Servers) -> None:
    project, own = servers.project, servers.environment
    dvc(servers, "remote", "add", "--default", "team", "s3://graftline/data")
    dvc(servers, "remote", "modify", "team", "endpointurl", own["AWS_ENDPOINT_URL"])
    dvc(servers, "remote", "modify", "team", "verify", "true")
    dvc(servers, "add", "--quiet", "data")
    dvc(servers, "push", "--quiet")
    commit(project, "data on S3")


def push_another_version(servers: Servers) -> str:
    """Other rows, and a training that takes long. Returns: the commit."""
    project = servers.project
    (project / "data" / "rows.csv").write_text(rows_as_csv(seed=1), encoding="utf-8")
    dvc(servers, "add", "--quiet", "data")
    dvc(servers, "push", "--quiet")
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["adaptation"]["epochs"] = 900
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    made = commit(project, "other rows")
    git(project, "push", "--quiet", "origin", "main")
    return made


def dvc(servers: Servers, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=servers.project, env=surroundings(**servers.environment),
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def newest(servers: Servers, deployment: str, state: str) -> dict[str, Any]:
    wanted = {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": [state]}}}
    found = servers.prefect("flow_runs/filter", flow_runs=wanted, sort="EXPECTED_START_TIME_DESC")
    return dict(found[0])


def tag(run: dict[str, Any], name: str) -> str | None:
    return next((one["value"] for one in run["data"].get("tags", []) if one["key"] == name), None)


def processes_of(run: str) -> list[int]:
    """The processes of a run of Prefect."""
    entry, found = f"PREFECT__FLOW_RUN_ID={run}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # it has just ended
    return found
