"""What a run of a deployment looks at first, and why runs wait, at a real Prefect server."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Failed, Running, Scheduled

from graftline.errors import SettingsError
from graftline.flows.runs import restart, runs
from graftline.flows.servers.checkout import COMMIT
from graftline.flows.servers.reasons import reason_of
from graftline.flows.servers.starting import BY_POLICY, late_run, require_same_graftline, settings_of_commit
from graftline.flows.servers.versions import _difference
from graftline.settings import PARAMS, read_settings
from graftline.tasks.workspace import Workspace
from tests.support.running_project import PROJECT

pytestmark = pytest.mark.usefixtures("prefect_server")

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def deployment(client: SyncPrefectClient, request: pytest.FixtureRequest) -> Iterator[UUID]:
    """One in a work pool of its own, both named after the test."""
    name = request.node.name
    client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    made = client.create_deployment(
        client.create_flow_from_name(name), name, work_pool_name=name, version="graftline 0.0.9"
    )
    yield made
    client.delete_deployment(made)
    client.delete_work_pool(name)


def due(client: SyncPrefectClient, deployment: UUID, at: datetime, *, scheduled: bool = True) -> FlowRun:
    run = client.create_flow_run_from_deployment(deployment, state=Scheduled(scheduled_time=at))
    # By the server's own scheduler it would be so; no client can make such a run.
    return client.read_flow_run(run.id).model_copy(update={"auto_scheduled": scheduled})


def test_of_runs_that_nobody_took_only_the_newest_is_made(
    client: SyncPrefectClient, deployment: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (due(client, deployment, NOON - timedelta(days=days)) for days in (2, 1))
    by_hand = due(client, deployment, NOON - timedelta(days=1), scheduled=False)
    monkeypatch.setattr("graftline.flows.servers.starting._stands_for", lambda other, run: _later(other, run))
    dropped = late_run(first)
    assert dropped is not None
    assert dropped.is_cancelled()
    assert dropped.message == "dropped: it was due at 2026-11-27 12:00 UTC, and a later one is due"
    assert late_run(second) is None
    assert late_run(by_hand) is None


def _later(other: FlowRun, run: FlowRun) -> bool:
    assert other.expected_start_time is not None
    assert run.expected_start_time is not None
    return other.expected_start_time > run.expected_start_time


def test_a_worker_with_another_graftline_than_the_deployments_refuses_in_a_sentence(
    client: SyncPrefectClient, deployment: UUID
) -> None:
    run = client.create_flow_run_from_deployment(deployment)
    with pytest.raises(SettingsError, match=r"made by Graftline 0\.0\.9, this worker has .*: install 0\.0\.9 here"):
        require_same_graftline(client.read_flow_run(run.id))
    require_same_graftline(run.model_copy(update={"deployment_version": None}))  # of `graftline up`


def test_what_holds_a_run_that_is_due_is_said(client: SyncPrefectClient, deployment: UUID) -> None:
    run = due(client, deployment, datetime.now(UTC) - timedelta(minutes=2), scheduled=False)
    pool = str(run.work_pool_name)
    assert reason_of(client, run).stuck
    assert f"no worker answers for the work pool {pool}" in reason_of(client, run).sentence
    client.update_work_pool(pool, WorkPoolUpdate(is_paused=True))
    assert f"the work pool {pool} is paused" in reason_of(client, run).sentence


def test_a_run_that_is_not_heard_of_is_stuck_and_one_that_has_just_begun_is_not(
    client: SyncPrefectClient, deployment: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = client.create_flow_run_from_deployment(deployment)
    client.set_flow_run_state(run.id, Running(), force=True)
    run = client.read_flow_run(run.id)
    assert not reason_of(client, run).stuck
    monkeypatch.setattr("graftline.flows.servers.reasons.LOST_AFTER", -1)
    reason = reason_of(client, run)
    assert reason.stuck
    assert "its process is gone" in reason.sentence


def test_only_a_run_that_has_ended_is_started_again(
    client: SyncPrefectClient, deployment: UUID, tmp_path: Path
) -> None:
    run = client.create_flow_run_from_deployment(deployment)
    with pytest.raises(SettingsError, match=r"has not ended; `graftline cancel"):
        restart(tmp_path, str(run.id))
    client.set_flow_run_state(run.id, Failed(), force=True)
    assert restart(tmp_path, run.name)["state"] == "AwaitingRetry"
    listed = {line["run"] for line in runs(tmp_path)["runs"]}  # type: ignore[union-attr,index,call-overload]
    assert str(run.id) in listed
    client.set_flow_run_state(run.id, Cancelled(), force=True)
    with pytest.raises(SettingsError, match=r"Prefect's server knows no run of that name or id"):
        restart(tmp_path, "no such run")


def test_a_server_of_another_release_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: "3.17.2")
    assert _difference("MLflow", "mlflow", "3.17.0") is None
    assert "the server is release 3.18.0, installed here is 3.17.2" in str(_difference("MLflow", "mlflow", "3.18.0"))
    for there in ("2.22.0", "3.16.1", "4.0.0"):
        with pytest.raises(SettingsError, match=rf"the server is release {there}, installed here is 3.17.2; install"):
            _difference("MLflow", "mlflow", there)


@pytest.mark.parametrize(
    ("scheduled", "tags", "of_commit"), [(True, [], True), (False, [BY_POLICY], True), (False, ["films"], False)]
)
def test_what_nobody_sent_has_the_settings_of_its_commit_and_a_form_its_own(
    scheduled: bool, tags: list[str], of_commit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = read_settings(PROJECT / PARAMS)
    pushed = read_settings(PROJECT / PARAMS, ["adaptation.epochs=77"])
    monkeypatch.setattr("graftline.flows.servers.starting.read_settings", lambda _: pushed)
    run = SimpleNamespace(flow_run=SimpleNamespace(auto_scheduled=scheduled, tags=tags))
    monkeypatch.setattr("graftline.flows.servers.starting.FlowRunContext", SimpleNamespace(get=lambda: run))
    monkeypatch.setenv(COMMIT, "0" * 40)
    assert settings_of_commit(Workspace(tmp_path), given) == (pushed if of_commit else given)
    monkeypatch.delenv(COMMIT)
    assert settings_of_commit(Workspace(tmp_path), given) == given, "`graftline up` has no commit"
