"""What Prefect's list of runs tells about a run, and the states that automations go by."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import Flow, flow, tags
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import FailedRun, MissingResult
from prefect.states import Running
from prefect.utilities.callables import parameter_schema
from pydantic import JsonValue

from graftline.errors import DataRefusedError
from graftline.flows.override import override as override_page
from graftline.flows.promote import promote as promote_page
from graftline.flows.run_page import Told, _end_lost, call_flow, name_run, name_waiting_run, of_verdict, told
from graftline.flows.servers.rules import ENDED
from graftline.tasks.registry.promotion import promote
from graftline.tasks.step import step
from graftline.tasks.workspace import Workspace
from tests.support.refusing_server import refusing_server
from tests.support.registered import MODEL, register
from tests.support.tiny_project import connected, forget_servers

__all__ = ["refusing_server"]

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("prefect_server")]

JUDGED: dict[str, JsonValue] = {
    "model": "reviews", "version": 3, "verdict": "HOLD", "reasons": ["no better", "few rows"]
}  # fmt: skip


@step("1 first")
def first(number: int) -> list[int]:
    return [number]


@step("2 second")
def second(numbers: list[int], more: list[int]) -> int:
    return len(numbers) + len(more)


@flow(name="judged", persist_result=False)
@told(of_verdict)
def judged() -> dict[str, JsonValue]:
    name_waiting_run("reviews", 3)  # as an earlier start of the run may have
    found = first(1)
    return {**JUDGED, "steps": second(found, more=found), "run": this_run()}


@flow(name="refused", persist_result=False)
@told(of_verdict)
def refused() -> dict[str, JsonValue]:
    name_run(f"refused {this_run()}", "reviews")
    raise DataRefusedError("data/rows.csv:\n  no rows; expected some")


@flow(name="handed on", persist_result=False)
@told(lambda _: Told("never", (), "never"))
def handed_on() -> dict[str, JsonValue]:
    return judged.fn()


@flow(name="judged as", persist_result=False)
@told(of_verdict)
def judged_as(model: str) -> dict[str, JsonValue]:
    return {**JUDGED, "model": model}


@flow(name="told twice", persist_result=False)
@told(of_verdict)
def told_twice(refused: str) -> dict[str, JsonValue]:
    if refused:
        raise DataRefusedError(refused)
    return JUDGED


def this_run() -> str:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return str(context.flow_run.id)


def newest_run() -> FlowRun:
    with get_client(sync_client=True) as client:
        return max(client.read_flow_runs(), key=lambda run: str(run.created))


def test_a_finished_run_is_named_tagged_and_ended_by_its_verdict_and_its_caller_gets_the_result() -> None:
    result = judged()
    assert {name: result[name] for name in JUDGED} == JUDGED
    run = newest_run()
    assert run.state is not None
    assert (run.name, set(run.tags)) == ("reviews v3 HOLD", {"reviews", "HOLD"})
    assert run.state.message == "HOLD: no better; few rows"
    # The names that the rule for lost runs and everybody's automations wait for.
    assert (run.state.type, run.state.name) == (StateType.COMPLETED, "Completed")
    assert run.state.name in ENDED


def test_the_graph_of_a_run_has_its_steps_by_name_and_no_arrows() -> None:
    run = judged()["run"]
    with get_client(sync_client=True) as client:
        graph = client.request("GET", "/flow_runs/{id}/graph-v2", path_params={"id": str(run)}).json()
    nodes = [node for _, node in graph["nodes"]]
    assert sorted(node["label"] for node in nodes) == ["1 first", "2 second"]
    assert [node["parents"] for node in nodes] == [[], []]


def test_a_step_bears_no_tag_of_its_run_for_which_prefect_would_ask_its_server() -> None:
    @step("1 alone")
    def tags_of_step() -> list[str]:
        context = TaskRunContext.get()
        assert context is not None
        return list(context.task_run.tags)

    @flow(name="tagged", persist_result=False)
    def tagged() -> list[str]:
        return tags_of_step()

    with tags("graftline"):
        assert tagged() == []


def test_a_run_that_was_killed_and_is_started_again_is_not_ended_by_its_own_note() -> None:
    judged()
    run = newest_run()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Running(), force=True)
        assert _end_lost(client, run.id, str(run.id))
        assert client.read_flow_run(run.id).state_type == StateType.RUNNING
        assert _end_lost(client, uuid4(), str(run.id))
        assert client.read_flow_run(run.id).state_type == StateType.CRASHED


def test_a_failed_run_says_our_sentence_and_its_caller_gets_our_error() -> None:
    with pytest.raises(DataRefusedError, match="no rows; expected some"):
        refused()
    run = newest_run()
    assert run.state is not None
    assert (run.state.type, run.state.name) == (StateType.FAILED, "Failed")
    assert run.state.message == "data/rows.csv: no rows; expected some"


def test_a_failed_run_that_is_to_be_tried_again_is() -> None:
    tries = []

    @flow(name="tried again", persist_result=False, retries=1, retry_delay_seconds=0)
    @told(of_verdict)
    def tried_again() -> dict[str, JsonValue]:
        tries.append(this_run())
        raise DataRefusedError("no rows")

    with pytest.raises(DataRefusedError, match="no rows"):
        tried_again()
    run = newest_run()
    assert tries == [str(run.id)] * 2
    assert run.state is not None
    assert run.state.name == "Failed"
    assert "no rows" in str(run.state.message)


def test_a_run_that_hands_on_to_another_of_our_flows_is_told_as_that_one() -> None:
    assert handed_on()["verdict"] == "HOLD"
    assert newest_run().name == "reviews v3 HOLD"


def test_a_run_whose_registry_refuses_to_say_its_versions_is_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch, refusing_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", refusing_server)
    assert judged()["verdict"] == "HOLD"
    run = newest_run()
    assert run.state is not None
    assert (run.name, run.state.type) == ("reviews v3 HOLD", StateType.COMPLETED)
    assert "does not show the forms' versions: reviews: MLflow refused" in caplog.text


def test_a_finished_run_offers_the_versions_of_the_projects_registry(
    workspace: Workspace, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.root)
    register(workspace, "PROMOTE", "HOLD", "PROMOTE", None)
    promote(workspace, MODEL, 1, "first")
    connected(workspace.root / "other", empty_store, monkeypatch)  # what MLflow asks unless it is told the project's
    forget_servers(monkeypatch)
    forms = {name: deployed(name) for name in (promote_page, override_page)}
    judged_as(MODEL)
    with get_client(sync_client=True) as client:
        fields = {
            flow.name: (client.read_deployment(key).parameter_openapi_schema or {})["properties"]["version"]
            for flow, key in forms.items()
        }
    assert fields["promote"]["enum"] == ["the challenger", "3 PROMOTE", "1 PROMOTE (champion)"]
    assert fields["promote"]["default"] == "the challenger"
    assert fields["override"]["enum"] == ["2 HOLD"]


def deployed(flow: "Flow[..., Any]") -> UUID:
    """A deployment as `graftline up` makes it."""
    schema = parameter_schema(flow).model_dump_for_openapi()
    with get_client(sync_client=True) as client:
        return client.create_deployment(
            client.create_flow(flow), flow.name, parameters={"name": MODEL}, parameter_openapi_schema=schema
        )


def test_as_a_plain_function_it_returns_and_raises_as_ever() -> None:
    with pytest.raises(AssertionError):
        judged.fn()  # there is no run whose page could be told, so nothing is caught or named


def test_what_a_flow_gives_or_raises_is_had_where_the_server_keeps_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    send = SyncPrefectClient.request

    def send_twice(client: SyncPrefectClient, method: Any, path: Any, **named: Any) -> httpx.Response:
        """As Prefect's client does where the server's first answer comes too late."""
        if path.endswith("/set_state"):
            send(client, method, path, **named)
        return send(client, method, path, **named)

    monkeypatch.setattr(SyncPrefectClient, "request", send_twice)
    with pytest.raises(FailedRun):
        told_twice("data/rows.csv: no rows")
    with pytest.raises(DataRefusedError, match="no rows"):
        call_flow(lambda: told_twice("data/rows.csv: no rows"))
    with pytest.raises(MissingResult):
        told_twice("")
    assert call_flow(lambda: told_twice("")) == JUDGED
