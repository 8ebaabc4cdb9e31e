"""`graftline react NAME`: what follows from alarms and new data, as the retraining policy has it."""

from datetime import UTC, datetime
from pathlib import Path

from prefect import flow
from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.flows.console import show_progress
from graftline.flows.run_page import Result, Told, told
from graftline.flows.servers.forms import ADAPT, called, find
from graftline.flows.servers.starting import BY_POLICY
from graftline.settings import PARAMS, read_settings
from graftline.tasks.registry.named import VersionName, find_named
from graftline.tasks.registry.versions import CHAMPION, champion_of, open_model
from graftline.tasks.step import require_servers
from graftline.tasks.steps.data_version import pointer_of
from graftline.tasks.tracking.server import connect
from graftline.tasks.watching.candidates import alarm_events, new_data_event, past_candidates
from graftline.tasks.watching.kept_looks import KeptLooks
from graftline.tasks.workspace import Workspace
from graftline.watching.retraining import RETRAINING, Choice, Event, decide, read_retraining

# A run that was started and has not ended; nobody waits for one that is only planned.
UNDER_WAY = ("PENDING", "RUNNING", "PAUSED", "CANCELLING")


def of_reaction(result: Result) -> Told:
    """By whether anything was started."""
    model = str(result["model"])
    return Told(f"react {model} {'started' if result['started'] else 'waits'}", (model,), str(result["answer"]))


@flow(name="react", flow_run_name="react {name}", persist_result=False)
@told(of_reaction)
def react(
    name: str, branch: str = "", policy: str = RETRAINING, params: str = PARAMS, deployment: str = ""
) -> dict[str, JsonValue]:
    """Ask the retraining policy, and start a candidate if it says so; a promotion is never started.

    Args:
        name: The registered model.
        branch: The branch whose head names the data version; it is fetched. Empty: what lies in the project folder.
        policy: The file with the retraining policy.
        params: The settings file.
        deployment: What is started. Empty: the model's own `adapt`, of `graftline deploy` or of `graftline up`.
    """
    workspace, settings, rules = Workspace(Path.cwd()), read_settings(Path(params)), read_retraining(Path(policy))
    now = datetime.now(UTC)
    with show_progress():
        require_servers(workspace)
        connect(workspace)
        open_model(workspace, name)
        events = alarms_of_champion(workspace, name)
        new_data = new_data_event(workspace, name, pointer_of(settings.data.folder), branch or None, now)
        events += [new_data] if new_data else []
        deployment = deployment or _deployed(name)
        choice = decide(rules, events, past_candidates(workspace, name, runs_under_way(deployment)), now)
        started = start(name, deployment, choice) if choice.start else None
    return _result(name, deployment, events, choice, started)


def alarms_of_champion(workspace: Workspace, name: str) -> list[Event]:
    """Those of the looks at the present champion; none without one."""
    if champion_of(name) is None:
        return []
    version = find_named(workspace, VersionName(name, CHAMPION))
    return alarm_events(KeptLooks(workspace, name, version.number, str(version.version.run_id)).records)


def _deployed(name: str) -> str:
    """What `graftline deploy` has called the line of this model; or what `graftline up` calls it.

    Raises: SettingsError if the server has neither.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    ours = called(ADAPT, name)
    if not PREFECT_API_URL.value():
        return ADAPT
    with get_client(sync_client=True) as client:
        for one in (ours, ADAPT):
            if find(client, one):
                return one
    raise SettingsError(
        f"{name}: the server that PREFECT_API_URL names has neither {ours} nor {ADAPT}, expected what makes a"
        " candidate; run `graftline deploy` in the project folder"
    )


def runs_under_way(deployment: str) -> dict[str, datetime]:
    """The runs of a deployment that have begun, or that somebody has asked for, by id; none without a server."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        return {}
    with get_client(sync_client=True) as client:
        if (there := find(client, deployment)) is None:
            return {}
        of = {"deployment_id": {"any_": [there.id]}, "state": {"type": {"any_": ["SCHEDULED", *UNDER_WAY]}}}
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(of))
    # Prefect plans a day of scheduled runs in advance.
    begun = [one for one in found if one.state_type != "SCHEDULED" or not one.auto_scheduled]
    return {str(one.id): _plain(one.start_time or one.created) or datetime.now(UTC) for one in begun}


def _plain(moment: datetime | None) -> datetime | None:
    """Prefect's moments are pendulum's, whose differences cannot be divided by a plain timedelta."""
    return datetime.fromtimestamp(moment.timestamp(), UTC) if moment else None


def start(name: str, deployment: str, choice: Choice) -> str | None:
    """Start a candidate at the server that PREFECT_API_URL names. Returns: the run's id; None where there is none."""
    from prefect.deployments import run_deployment
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        return None
    note = f"started by the retraining policy: {'; '.join(choice.reasons)}"
    # It may take hours, and is seen on its own page.
    tags = [name, BY_POLICY]
    run = run_deployment(deployment, parameters={"note": note}, timeout=0, tags=tags, as_subflow=False)
    return str(run.id)  # type: ignore[union-attr]  # of a call outside of an event loop it is no coroutine


def _result(
    name: str, deployment: str, events: list[Event], choice: Choice, started: str | None
) -> dict[str, JsonValue]:
    why = "; ".join(choice.reasons)
    if started:
        answer = f"{name}: started {deployment} ({why})"
    elif choice.start:
        answer = (
            f"{name}: would start {deployment} ({why}), but PREFECT_API_URL names no server; run `graftline adapt`, or"
            " set it to yours"
        )
    else:
        answer = f"{name}: nothing is started ({why})"
    return {
        "model": name,
        "start": choice.start,
        "started": started,
        "reasons": list(choice.reasons),
        "events": [{"trigger": one.trigger, "when": one.when.isoformat(), "what": one.what} for one in events],
        "answer": answer,
        "summary": answer,
    }
