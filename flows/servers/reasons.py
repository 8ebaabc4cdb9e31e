"""Why a run waits or is stuck, in a sentence, from what Prefect's server knows."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType, WorkPoolStatus
from prefect.exceptions import ObjectNotFound

# Seldom enough to cost a server nothing with hundreds of runs, often enough to tell a death within two minutes.
HEARTBEAT_SECONDS = 30
# Two lost heartbeats and a margin: a busy machine may delay one.
LOST_AFTER = 3 * HEARTBEAT_SECONDS
# From a worker's taking a run to the run's first word: clone, imports; more on a busy machine.
BEGIN_SECONDS = 300
# A worker looks every few seconds.
TAKEN_SECONDS = 60
# What every run of ours says as often as that; and what Prefect says of it, as often as a worker's settings want.
LIVES, HEARTBEAT = "graftline.run.lives", "prefect.flow-run.heartbeat"


@dataclass(frozen=True)
class Reason:
    """Why a run is in its state."""

    sentence: str
    stuck: bool = False
    """Whether it needs a person, or a rule, to go on."""


def reason_of(client: SyncPrefectClient, run: FlowRun) -> Reason:
    """Of a run that has not ended."""
    since = _clock(run.state.timestamp) if run.state else "?"
    if run.state_type == StateType.RUNNING:
        return _of_running(client, run, since)
    if run.state_type == StateType.PENDING:
        late = _age(run) > BEGIN_SECONDS
        return Reason(f"a worker took it at {since} and it has not begun{'; see the worker log' if late else ''}", late)
    if run.state_type == StateType.PAUSED:
        return _of_paused(run, since)
    if run.state_type == StateType.CANCELLING:
        late = _age(run) > LOST_AFTER
        return Reason(f"is asked to stop since {since}{'; its worker does not answer' if late else ''}", late)
    return _of_scheduled(client, run)


def last_heartbeat(client: SyncPrefectClient, run: FlowRun) -> datetime | None:
    """When the run's process was last heard of, its beginning counted; None if it has not begun."""
    if run.start_time is None:
        return None
    # An earlier start of the same run may have been heard of, too; the state is that of this one.
    begun = run.state.timestamp if run.state_type == StateType.RUNNING and run.state else run.start_time
    wanted = {
        "event": {"name": [LIVES, HEARTBEAT]},
        "resource": {"id": [f"prefect.flow-run.{run.id}"]},
        "occurred": {"since": begun.isoformat()},
    }
    answer = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 1})
    events = answer.json().get("events", [])
    return max([begun, *(datetime.fromisoformat(event["occurred"]) for event in events)])


def _of_running(client: SyncPrefectClient, run: FlowRun, since: str) -> Reason:
    heard = last_heartbeat(client, run)
    if heard is not None and datetime.now(UTC) - heard > timedelta(seconds=LOST_AFTER):
        return Reason(f"runs since {since}, but not heard of since {_clock(heard)}: its process is gone", stuck=True)
    return Reason(f"runs since {since}")


def _of_paused(run: FlowRun, since: str) -> Reason:
    until = run.state.state_details.pause_timeout if run.state else None
    until_when = f" until {_clock(until)}" if until else ""
    return Reason(f"waits for approval since {since}{until_when}: answer on its page, or with `graftline approve`")


def _of_scheduled(client: SyncPrefectClient, run: FlowRun) -> Reason:
    name, start = run.state.name if run.state else None, run.next_scheduled_start_time
    if name == "AwaitingConcurrencySlot":
        return Reason("waits for its turn: another run of these deployments goes on")
    if start is not None and start > datetime.now(UTC) + timedelta(seconds=1):
        return Reason(f"is started {'again ' if name == 'AwaitingRetry' else ''}at {_clock(start)}")
    due = f"due since {_clock(start)}" if start else "due"
    if run.work_pool_name is None:
        return Reason(f"{due}: it belongs to no work pool, so no worker will take it", stuck=True)
    if (held := _held_by_pool(client, run)) is not None:
        return Reason(f"{due}: {held}", stuck=True)
    late = start is not None and datetime.now(UTC) - start > timedelta(seconds=TAKEN_SECONDS)
    return Reason(f"{due}: {'its workers are busy, or do not look' if late else 'a worker will take it'}", stuck=late)


def _held_by_pool(client: SyncPrefectClient, run: FlowRun) -> str | None:
    """Why the work pool, or the run's queue in it, gives no run to a worker; None if it does."""
    assert run.work_pool_name is not None
    try:
        pool = client.read_work_pool(run.work_pool_name)
    except ObjectNotFound:
        return f"there is no work pool {run.work_pool_name}; deploy again"
    if pool.is_paused:
        return f"the work pool {pool.name} is paused; resume it: `prefect work-pool resume {pool.name}`"
    if pool.status == WorkPoolStatus.NOT_READY:
        return f"no worker answers for the work pool {pool.name}; start one: `prefect worker start --pool {pool.name}`"
    if pool.concurrency_limit is not None and _under_way(client, pool.name) >= pool.concurrency_limit:
        return f"the work pool {pool.name} takes {pool.concurrency_limit} at once, and as many run"
    queue = client.read_work_queue(run.work_queue_id) if run.work_queue_id else None
    if queue is not None and queue.is_paused:
        return f"the queue {queue.name} of the work pool {pool.name} is paused; resume it in the page"
    return None


def _under_way(client: SyncPrefectClient, pool: str) -> int:
    wanted = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
    asked = {"flow_runs": wanted, "work_pools": {"name": {"any_": [pool]}}}
    return int(client.request("POST", "/flow_runs/count", json=asked).json())


def _age(run: FlowRun) -> float:
    return (datetime.now(UTC) - run.state.timestamp).total_seconds() if run.state else 0.0


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
