"""Runs whose processes died before anybody heard of them are ended by the rules of a team's server."""

import time
from collections.abc import Iterator
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Pending, Running

from graftline.flows.heartbeats import beating
from graftline.flows.servers.rules import OURS, ending_lost_runs, ending_runs_not_begun, set_rules
from tests.support.running_project import wait_until

# The least that Prefect takes for such a rule.
SHORT_SECONDS = 10
SOON = 120

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("prefect_server")]


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


def test_runs_that_died_before_a_heartbeat_are_ended_and_no_others(client: SyncPrefectClient) -> None:
    lost, taken, heard, of_others = (
        client.create_flow_run(any_flow, tags=tags, state=Pending()).id
        for tags in ([OURS, "tiny"], [OURS], [OURS], ["of others"])
    )
    for run in (lost, heard, of_others):
        client.set_flow_run_state(run, Running())
    with beating(client.read_flow_run(heard)):
        wait_until(lambda: {state_of(client, lost), state_of(client, taken)} == {"Crashed"}, SOON)
        assert state_of(client, heard) == "Running"
        assert state_of(client, of_others) == "Running"
    said = [client.read_flow_run(run).state for run in (lost, taken)]
    assert ["No heartbeat" in str(one and one.message) for one in said] == [True, False]
