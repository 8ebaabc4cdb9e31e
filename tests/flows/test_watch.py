"""`graftline watch` and `graftline react` on a tiny project: what they print, keep, start, and tell a server."""

import json
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from benchmarks.scores.projects import git
from graftline.flows.cli import app
from graftline.flows.events import AlarmRaised, tell_alarms
from graftline.flows.react import react
from graftline.flows.servers.forms import form_values
from graftline.flows.servers.rules import reacting, set_rule
from graftline.flows.servers.starting import BY_POLICY
from graftline.flows.watch import watch
from graftline.settings import PARAMS
from graftline.tasks.registry.named import VersionName, find_named
from graftline.tasks.watching.candidates import data_events, past_candidates
from graftline.tasks.watching.held_out import HeldOutRows
from graftline.tasks.watching.reference import Reference, reference_of
from graftline.watching.retraining import RETRAINING
from tests.support.served_log import FIRST_DAY, serve_days
from tests.support.tiny_project import MODEL, Line

LAST_DAY = FIRST_DAY + timedelta(days=9)
# Until a rule is in force: the server tells its own services in the background.
RULE_SECONDS = 2


@pytest.fixture
def served(adapted: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A tiny project whose champion answered six days like the held-out rows, and four that are not."""
    monkeypatch.chdir(adapted.workspace.root)
    version = find_named(adapted.workspace, VersionName(MODEL, "champion"))
    held_out = HeldOutRows(adapted.workspace, adapted.data)
    reference: Reference = reference_of(adapted.workspace, adapted.settings, held_out, version)
    serve_days(adapted.workspace, reference, 6)
    serve_days(adapted.workspace, reference, 4, moved=2.0, first=FIRST_DAY + timedelta(days=6))
    yield adapted
    for folder in ("artifacts/served", "artifacts/watch"):
        shutil.rmtree(adapted.workspace.root / folder, ignore_errors=True)
    (adapted.workspace.root / RETRAINING).unlink(missing_ok=True)


@pytest.fixture
def no_server() -> Iterator[None]:
    """Also where the tests before have one."""
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


def ran(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def policy(root: Path, **rules: object) -> None:
    (root / RETRAINING).write_text(yaml.safe_dump(rules))


def test_a_watch_says_what_alarms_since_when_and_writes_its_page(served: Line) -> None:
    result = ran("watch", MODEL, "--until", str(LAST_DAY))
    assert result["looks"] == result["new_looks"] == 10
    assert "features_classifier" in result["alarms"]
    assert min(result["alarms"].values()) > str(FIRST_DAY + timedelta(days=5))
    assert "ALARM" in result["summary"]
    assert "What is served is no longer what was held out" in Path(result["page"]).read_text()
    again = ran("watch", MODEL, "--until", str(LAST_DAY))
    assert (again["new_looks"], again["alarms"]) == (0, result["alarms"])


def test_a_replay_says_what_the_policy_would_have_started_and_its_cost_and_keeps_nothing(served: Line) -> None:
    policy(served.workspace.root, triggers=["input_drift"], least_days=2)
    result = ran("watch", MODEL, "--simulate", str(FIRST_DAY), str(LAST_DAY))
    assert {event["trigger"] for event in result["events"]} >= {"input_drift"}
    assert len(result["started"]) >= 1
    assert result["started"][0]["day"] > str(FIRST_DAY + timedelta(days=5))
    assert not list((served.workspace.artifacts / "watch").rglob("0*.json"))
    policy(served.workspace.root, triggers=[])
    assert ran("watch", MODEL, "--simulate", str(FIRST_DAY), str(LAST_DAY))["started"] == []


@pytest.mark.usefixtures("no_server")
def test_without_a_server_a_reaction_says_what_it_would_start(served: Line) -> None:
    policy(served.workspace.root, triggers=["new_data_version"])
    assert ran("react", MODEL)["start"] is False
    pointer = served.workspace.root / "data.dvc"
    before = pointer.read_text()
    changed = yaml.safe_load(before)
    changed["outs"][0]["md5"] = "f" * 32 + ".dir"
    pointer.write_text(yaml.safe_dump(changed))
    try:
        held = ran("react", MODEL)
        policy(served.workspace.root, triggers=["new_data_version"], least_days=0)
        result = ran("react", MODEL)
    finally:
        pointer.write_text(before)
    assert held["reasons"][0].startswith("least_days 7")
    assert (result["start"], result["started"]) == (True, None)
    assert "would start adapt/adapt" in result["summary"]


def test_past_runs_tell_how_long_a_candidate_takes(served: Line) -> None:
    (only,) = past_candidates(served.workspace, MODEL)
    assert only.hours is not None
    assert 0 < only.hours < 1
    assert not only.waits


def test_commits_that_change_the_data_version_are_events_of_the_past(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    for number, letter in enumerate("aab"):
        (tmp_path / "data.dvc").write_text(yaml.safe_dump({"outs": [{"md5": letter * 32 + ".dir", "size": number}]}))
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "--quiet", "--message", "data")
    (event,) = data_events(tmp_path, "data.dvc", FIRST_DAY, FIRST_DAY + timedelta(days=36_500))
    assert "bbbbbbbbbbbb" in event.what


@pytest.mark.full
@pytest.mark.usefixtures("prefect_server")
def test_an_alarm_is_an_event_at_the_server_with_the_model_as_its_resource(tmp_path: Path) -> None:
    model = "only-this-test-has-it"  # the server is every test's of this file
    tell_alarms(model, 3, [AlarmRaised("facts", 7, FIRST_DAY)], tmp_path / "page.html")
    asked = {"filter": {"resource": {"id": [f"graftline.model.{model}"]}}}
    with httpx.Client(base_url=f"{PREFECT_API_URL.value()}/") as server:
        (event,) = _eventually(lambda: server.post("events/filter", json=asked).json()["events"])
    assert event["event"] == "graftline.alarm.input_drift"
    assert event["payload"]["signal"] == "facts"


@pytest.mark.full
@pytest.mark.usefixtures("prefect_server")
def test_with_a_server_a_reaction_starts_the_deployment_and_says_why(served: Line) -> None:
    from graftline.flows.adapt import adapt

    given = {"settings": form_values(served.workspace.root / PARAMS)}
    adapt.to_deployment("adapt", parameters=given).apply()  # type: ignore[union-attr]
    watch(MODEL, until=str(LAST_DAY))
    assert react.fn(MODEL)["started"] is None, "the policy does not start on a drift"
    policy(served.workspace.root, triggers=["schedule"], schedule_days=1e-9, least_days=0)
    result = react.fn(MODEL)
    assert result["started"]
    again = react.fn(MODEL)
    assert (again["started"], "most_waiting 1: 1 under way" in str(again["answer"])) == (None, True), (
        "MLflow knows none yet"
    )
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(result["started"])  # type: ignore[arg-type]
        (watched,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(name={"like_": f"watch {MODEL}"}))  # type: ignore[arg-type]
    assert "schedule" in run.parameters["note"]
    assert {MODEL, BY_POLICY} <= set(run.tags)
    assert watched.name == f"watch {MODEL} v1 ALARM"
    assert "ALARM: features" in str(watched.state.message if watched.state else "")


@pytest.mark.full
@pytest.mark.usefixtures("prefect_server")
def test_an_alarm_has_the_server_start_what_asks_the_policy(tmp_path: Path) -> None:
    deployment: Any = react.to_deployment(MODEL, parameters={"name": MODEL}).apply()  # type: ignore[union-attr]
    with get_client(sync_client=True) as client:
        set_rule(client, reacting(MODEL, deployment))
        time.sleep(RULE_SECONDS)
        tell_alarms("another", 3, [AlarmRaised("facts", 7, FIRST_DAY)], tmp_path / "page.html")
        tell_alarms(MODEL, 3, [AlarmRaised("facts", 7, FIRST_DAY)], tmp_path / "page.html")
        of = FlowRunFilter.model_validate({"deployment_id": {"any_": [deployment]}})
        (started,) = _eventually(lambda: client.read_flow_runs(flow_run_filter=of))
        client.delete_deployment(deployment)
    assert started.parameters["name"] == MODEL


def _eventually(ask: Any) -> Any:
    for _ in range(100):
        if found := ask():
            return found
        time.sleep(0.1)
    raise AssertionError("nothing came")
