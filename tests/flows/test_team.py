"""`graftline team` and what a team does with it: real Postgres, S3, Prefect and MLflow, and a worker elsewhere."""

import json
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from mlflow.server import get_app_client
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import expect

from benchmarks.scores.projects import git
from tests.browser.pages import screenshot, started_browser
from tests.support.running_project import marked_processes, wait_until
from tests.support.servers import free_ports
from tests.support.team import RUN_SECONDS, Servers, commit, dvc, push_data_to_s3, started, team_project, worker
from tests.support.tiny_project import rows_as_csv

pytestmark = pytest.mark.full
# A page of MLflow's, the first time, on a busy machine.
BROWSER_MILLISECONDS = 60_000


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Not in pytest's own folder, which the account of Postgres could not enter."""
    folder = Path(tempfile.mkdtemp(prefix="graftline-team-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def servers(place: Path) -> Iterator[Servers]:
    project = team_project(place / "project")
    with started(project, place / "servers", free_ports(3)) as running:
        yield running


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


def test_in_a_browser_every_page_asks_for_a_password_and_shows_nothing_before(servers: Servers) -> None:
    own = servers.environment
    prefect, mlflow = own["PREFECT_API_URL"].removesuffix("/api"), own["MLFLOW_TRACKING_URI"]
    name, password = servers.worker
    with started_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{prefect}/deployments")
        asked = page.locator("input[type=password]")
        expect(asked).to_be_visible(timeout=BROWSER_MILLISECONDS)
        expect(page.get_by_text("adapt")).to_have_count(0)
        screenshot(page, "team_prefect_asks")
        asked.fill("admin:wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_text("adapt")).to_have_count(0)
        asked.fill(own["PREFECT_API_AUTH_STRING"])
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name="adapt").first).to_be_visible(timeout=BROWSER_MILLISECONDS)
        screenshot(page, "team_prefect_signed_in")
        # Chromium asks in a window of its own, which nobody answers here.
        with pytest.raises(PlaywrightError, match="ERR_INVALID_AUTH_CREDENTIALS"):
            page.goto(mlflow)
        signed = browser.new_context(http_credentials={"username": name, "password": password}).new_page()
        answer = signed.goto(f"{mlflow}/#/models")
        assert answer is not None
        assert answer.status == 200
        expect(signed.get_by_text("Register").first).to_be_visible(timeout=BROWSER_MILLISECONDS)
        screenshot(signed, "team_mlflow_signed_in")


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


@pytest.mark.long
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
