"""`graftline react NAME`: what follows from alarms and new data, as the retraining policy has it."""

from datetime import UTC, datetime
from pathlib import Path

from prefect import flow
from pydantic import JsonValue

from graftline.flows.console import show_progress
from graftline.flows.run_page import Result, Told, told
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

# What is started: the line with the settings that its deployment was given.
DEPLOYMENT = "adapt/adapt"


def of_reaction(result: Result) -> Told:
    """By whether anything was started."""
    model = str(result["model"])
    return Told(f"react {model} {'started' if result['started'] else 'waits'}", (model,), str(result["answer"]))


@flow(name="react", flow_run_name="react {name}", persist_result=False)
@told(of_reaction)
def react(
    name: str, branch: str = "", policy: str = RETRAINING, params: str = PARAMS, deployment: str = DEPLOYMENT
) -> dict[str, JsonValue]:
    """Ask the retraining policy, and start a candidate if it says so; a promotion is never started.

    Args:
        name: The registered model.
        branch: The branch whose head names the data version; it is fetched. Empty: what lies in the project folder.
        policy: The file with the retraining policy.
        params: The settings file.
        deployment: What is started.
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
        choice = decide(rules, events, past_candidates(workspace, name), now)
        started = start(name, deployment, choice) if choice.start else None
    return _result(name, deployment, events, choice, started)


def alarms_of_champion(workspace: Workspace, name: str) -> list[Event]:
    """Those of the looks at the present champion; none without one."""
    if champion_of(name) is None:
        return []
    version = find_named(workspace, VersionName(name, CHAMPION))
    return alarm_events(KeptLooks(workspace, name, version.number, str(version.version.run_id)).records)


def start(name: str, deployment: str, choice: Choice) -> str | None:
    """Start a candidate at the server that PREFECT_API_URL names. Returns: the run's id; None where there is none."""
    from prefect.deployments import run_deployment
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        return None
    note = f"started by the retraining policy: {'; '.join(choice.reasons)}"
    # It may take hours, and is seen on its own page.
    run = run_deployment(deployment, parameters={"note": note}, timeout=0, tags=[name], as_subflow=False)
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
