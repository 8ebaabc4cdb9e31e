"""Runs whose processes died before anybody heard of them are ended by the rules of a team's server."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.states import AwaitingRetry, Pending, Running, Suspended

from graftline.flows.heartbeats import OURS, beating, fall_silent, preparing
from graftline.flows.servers.rules import ending_lost_runs, ending_runs_not_begun, set_rules
from tests.support.databases import prefect_on_postgres
from tests.support.running_project import wait_until

# The least that Prefect takes for such a rule.
SHORT_SECONDS = 10
SOON = 120

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("server")]


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with prefect_on_postgres():
        yield


@flow
def any_flow() -> None:
    pass


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    """With both rules in force, in haste."""
    for name in ("LOST_AFTER", "BEGIN_SECONDS"):
        monkeypatch.setattr(f"graftline.flows.servers.rules.{name}", SHORT_SECONDS)
    monkeypatch.setattr("graftline.flows.heartbeats.HEARTBEAT_SECONDS", 2)
    with get_client(sync_client=True) as client:
        set_rules(client)
        time.sleep(2)  # the server tells its own services in the background
        yield client
        for rule in (ending_lost_runs(), ending_runs_not_begun()):
            for found in client.read_automations_by_name(rule.name):
                client.delete_automation(found.id)


def state_of(client: SyncPrefectClient, run: UUID) -> str:
    return str(client.read_flow_run(run).state_name)


def taken_run(client: SyncPrefectClient, *tags: str) -> UUID:
    return client.create_flow_run(any_flow, tags=tags, state=Pending()).id


def set_state(client: SyncPrefectClient, run: UUID, state: State[None]) -> None:
    client.set_flow_run_state(run, state, force=True)


def test_runs_that_died_before_a_heartbeat_are_ended_and_no_others(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, taken, heard, of_others, failed, waiting = (
        taken_run(client, *tags) for tags in ([OURS, "tiny"], [OURS], [OURS], ["of others"], [OURS], [OURS])
    )
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", str(waiting))  # as in the process that makes the run's clone
    with preparing(), beating(client.read_flow_run(heard)):
        for run in (lost, heard, of_others, failed):
            set_state(client, run, Running())
        set_state(client, failed, AwaitingRetry(scheduled_time=datetime.now(UTC) + timedelta(days=1)))
        wait_until(lambda: {state_of(client, lost), state_of(client, taken)} == {"Crashed"}, SOON)
        time.sleep(SHORT_SECONDS)  # what began a little later
        assert state_of(client, heard) == "Running"
        assert state_of(client, of_others) == "Running"
        assert state_of(client, waiting) == "Pending"
        assert state_of(client, failed) == "AwaitingRetry"
    said = [client.read_flow_run(run).state for run in (lost, taken)]
    assert ["No heartbeat" in str(one and one.message) for one in said] == [True, False]


def test_a_run_that_falls_silent_before_it_is_suspended_waits_for_its_answer(client: SyncPrefectClient) -> None:
    """Of a deployment: the server lets no rule end a suspended run of none."""
    deployment = client.create_deployment(client.create_flow(any_flow), "asked")
    run = client.create_flow_run_from_deployment(deployment, tags=[OURS], state=Pending()).id
    set_state(client, run, Running())
    with beating(client.read_flow_run(run)):
        fall_silent()
        set_state(client, run, Suspended(timeout_seconds=3600))
        time.sleep(3)  # of the flow, which says no more
    time.sleep(SHORT_SECONDS + 5)
    assert state_of(client, run) == "Suspended"
