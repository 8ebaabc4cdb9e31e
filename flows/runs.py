"""`graftline runs`, `cancel` and `restart`: what goes on on Prefect's server, why something waits, and how it ends."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Cancelling, Scheduled
from pydantic import JsonValue

from graftline.errors import GraftlineError, SettingsError
from graftline.flows.mend import end_tracked
from graftline.flows.servers.lost_runs import is_over
from graftline.flows.servers.reasons import LOST_AFTER, Reason, last_heartbeat, reason_of
from graftline.tasks.step import require_servers
from graftline.tasks.tracking.left_runs import UnfinishedRun, end_left, unfinished_runs
from graftline.tasks.tracking.server import connect, has_registry
from graftline.tasks.workspace import Workspace

NOT_OVER = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]
MOST_RUNS = 200
POLL_SECONDS = 1.0
# A training stops after the batch and the checkpoint that it is at, within 25 s; a worker looks every few seconds.
STOP_SECONDS = 180


@dataclass(frozen=True)
class RunLine:
    """A run as the list shows it."""

    run: FlowRun
    deployment: str
    reason: Reason

    def as_json(self) -> dict[str, JsonValue]:
        state = self.run.state
        return {
            "run": str(self.run.id),
            "name": self.run.name,
            "deployment": self.deployment,
            "state": state.name if state else None,
            "since": state.timestamp.isoformat() if state else None,
            "stuck": self.reason.stuck,
            "why": self.reason.sentence,
            "tags": [*sorted(self.run.tags)],
        }

    def as_text(self) -> str:
        state = self.run.state.name if self.run.state else "?"
        mark = "STUCK " if self.reason.stuck else ""
        return f"{self.run.id}  {state:<12} {self.deployment}  {self.run.name}: {mark}{self.reason.sentence}"


def runs(root: Path) -> dict[str, JsonValue]:
    """What runs, waits or is stuck, and why; MLflow's part of runs that have ended is ended, and said.

    Raises: SettingsError if no server is named; ServerAwayError if one does not answer.
    """
    _require_server(root)
    with get_client(sync_client=True) as client:
        lines = [RunLine(run, _deployment_of(client, run), reason_of(client, run)) for run in _shown(client)]
        ended, others = _unfinished_in_mlflow(root, client)
    said = [line.as_text() for line in lines] or ["nothing runs, and nothing waits"]
    said += [f"MLflow's run {one.name} ({one.run_id}) was left by one that has ended: ended it, too" for one in ended]
    said += [f"MLflow's run {one.name} ({one.run_id}) goes on since {one.since}, of no run here" for one in others]
    plain: list[JsonValue] = [line.as_json() for line in lines]
    return {
        "runs": plain,
        "ended_in_mlflow": [one.run_id for one in ended],
        "unknown_in_mlflow": [one.run_id for one in others],
        "summary": "\n".join(said),
    }


def cancel(root: Path, named: str, *, say: Callable[[str], None]) -> dict[str, JsonValue]:
    """Stop a run, on whatever machine it is, and wait until its worker tells that the process has ended.

    Raises: SettingsError if there is no such run; GraftlineError if it does not stop in time.
    """
    _require_server(root)
    with get_client(sync_client=True) as client:
        run = _found(client, named)
        if is_over(run):
            return _told(run, f"{run.name} had ended already ({run.state.name if run.state else 'no state'})")
        client.set_flow_run_state(run.id, Cancelling(message="cancelled with `graftline cancel`"))
        say(f"asked {run.name} to stop; waiting for its end")
        run = _ended(client, run.id)
    ended = end_tracked(str(run.id))
    state = run.state.name if run.state else "ended"
    return _told(run, f"{run.name}: {state}; start it again with `graftline restart {run.id}`", ended)


def restart(root: Path, named: str) -> dict[str, JsonValue]:
    """Start a run again that has ended, with its parameters; steps that were finished are skipped.

    Raises: SettingsError if there is no such run, it has not ended, or no deployment started it.
    """
    _require_server(root)
    with get_client(sync_client=True) as client:
        run = _found(client, named)
        if not is_over(run):
            raise SettingsError(f"{run.name}: has not ended; `graftline cancel {run.id}` ends it")
        if run.deployment_id is None:
            raise SettingsError(f"{run.name}: was started on a command line; start the same command again")
        # As the page's button does it.
        again: State[None] = Scheduled(name="AwaitingRetry", message="started again with `graftline restart`")
        answer = client.set_flow_run_state(run.id, again, force=True)
        if answer.status != SetStateStatus.ACCEPT:
            raise GraftlineError(f"{run.name}: Prefect's server refused to start it again ({answer.status.value})")
        return _told(client.read_flow_run(run.id), f"{run.name}: starts again as soon as a worker takes it")


def _told(run: FlowRun, sentence: str, ended: list[str] | None = None) -> dict[str, JsonValue]:
    state = run.state.name if run.state else None
    return {"run": str(run.id), "state": state, "ended_in_mlflow": [*(ended or [])], "summary": sentence}


def _require_server(root: Path) -> None:
    if not PREFECT_API_URL.value():
        raise SettingsError(
            "PREFECT_API_URL is not set: runs of a command line without a server are listed nowhere; set it, as"
            " docs/how-to/team.md says"
        )
    require_servers(Workspace(root))


def _shown(client: SyncPrefectClient) -> list[FlowRun]:
    """Those that have not ended; of what is planned only the next one of each deployment."""
    wanted = FlowRunFilter.model_validate({"state": {"type": {"any_": NOT_OVER}}})
    found = client.read_flow_runs(flow_run_filter=wanted, limit=MOST_RUNS)
    found.sort(key=lambda run: run.expected_start_time or run.created or datetime.now(UTC))
    now, planned, shown = datetime.now(UTC), set[UUID | None](), []
    for run in found:
        is_to_come = run.state_type == StateType.SCHEDULED and (run.next_scheduled_start_time or now) > now
        if is_to_come and run.auto_scheduled and run.deployment_id in planned:
            continue
        if is_to_come and run.auto_scheduled:
            planned.add(run.deployment_id)
        shown.append(run)
    return shown


def _deployment_of(client: SyncPrefectClient, run: FlowRun) -> str:
    flow = client.read_flow(run.flow_id).name
    if run.deployment_id is None:
        return flow
    try:
        return f"{flow}/{client.read_deployment(run.deployment_id).name}"
    except ObjectNotFound:
        return f"{flow}/(deleted)"


def _found(client: SyncPrefectClient, named: str) -> FlowRun:
    """The run of an id, or the only one of a name. Raises: SettingsError if there is none, or are several."""
    try:
        return client.read_flow_run(UUID(named))
    except ValueError:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate({"name": {"any_": [named]}}), limit=2
        )
    except ObjectNotFound:
        found = []
    if len(found) != 1:
        how_many = "no run" if not found else "several runs"
        raise SettingsError(
            f"{named}: Prefect's server knows {how_many} of that name or id; `graftline runs` lists ids"
        )
    return found[0]


def _ended(client: SyncPrefectClient, run: UUID) -> FlowRun:
    """Wait for its end; one whose process is gone is ended here. Raises: GraftlineError if it takes too long."""
    deadline = time.monotonic() + STOP_SECONDS
    while not is_over(found := client.read_flow_run(run)):
        if _is_silent(client, found):
            gone: State[None] = Cancelled(message="cancelled with `graftline cancel`; its process was gone")
            client.set_flow_run_state(run, gone, force=True)
            continue
        if time.monotonic() > deadline:
            raise GraftlineError(
                f"{found.name}: has not stopped within {STOP_SECONDS} s; see that its worker can reach Prefect's"
                " server, then cancel again"
            )
        time.sleep(POLL_SECONDS)
    return found


def _is_silent(client: SyncPrefectClient, run: FlowRun) -> bool:
    heard = last_heartbeat(client, run)
    return heard is not None and datetime.now(UTC) - heard > timedelta(seconds=LOST_AFTER)


def _unfinished_in_mlflow(root: Path, client: SyncPrefectClient) -> tuple[list[UnfinishedRun], list[UnfinishedRun]]:
    """MLflow's runs of runs that have ended, which are ended; and those of which Prefect's server knows nothing."""
    workspace = Workspace(root)
    if not has_registry(workspace):
        return [], []
    connect(workspace)
    left, unknown = [], []
    for one in unfinished_runs():
        try:
            over = one.orchestrated_by and is_over(client.read_flow_run(UUID(one.orchestrated_by)))
        except (ObjectNotFound, ValueError):  # anybody who writes to MLflow can write the tag
            over = None
        if over:
            left.append(one)
        elif over is None:
            unknown.append(one)
    end_left(left)
    return left, unknown
