"""The rules of a Prefect server: what it does by itself at which events."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from graftline.flows.events import ALARM, resource_of
from graftline.flows.heartbeats import OURS, PREPARES, tag_resource
from graftline.flows.servers.reasons import LIVES, LOST_AFTER

LOST_RUNS = "End lost runs"
# From a worker's taking a run, or its last word that it prepares, to its beginning: an image may have to be pulled.
BEGIN_SECONDS = 900
ENDED = ("Completed", "Failed", "Crashed", "Cancelled")
# It says nothing until someone answers, or until it is tried again.
SILENT = ("Suspended", "AwaitingRetry")
# As Prefect's own code names states, and thereby their events.
TAKEN = ("Pending", "Submitting", "InfrastructurePending")
RUNNING = ("Running", "Retrying")
# What else may become of a run that was taken.
WAITS = ("Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot", "Resuming", "Paused", "Suspended")


def set_rule(client: SyncPrefectClient, rule: Automation) -> None:
    """Give the server a rule in its present form; one that someone switched off in the page stays so."""
    found = client.read_automations_by_name(rule.name)
    if not found:
        rule.create()
    for present in found:
        client.update_automation(present.id, rule.model_copy(update={"enabled": present.enabled}))


def set_rules(client: SyncPrefectClient) -> None:
    """Give the server the rules about all runs of ours."""
    for rule in (ending_lost_runs(), ending_runs_not_begun()):
        set_rule(client, rule)


def ending_lost_runs() -> Automation:
    """The rule that ends a run whose process died without a word (https://docs.prefect.io/v3/advanced/detect-zombie-flows).

    Prefect's own form of it hears nothing of a run that died before its first heartbeat.
    """
    return _ending(
        LOST_RUNS,
        "Ends a run of Graftline that has not said for a while that it lives: its process is gone.",
        after={LIVES, *_events(RUNNING)},
        heard={LIVES, *_events([*RUNNING, *ENDED, *SILENT])},
        seconds=LOST_AFTER,
        message="No heartbeat: the run's process is gone; start it again: it resumes.",
    )


def ending_runs_not_begun() -> Automation:
    """The rule for a run whose worker died between taking and beginning it."""
    return _ending(
        "End runs that do not begin",
        "Ends a run of Graftline that a worker took and that did not begin: the worker, or its machine, is gone.",
        after={PREPARES, *_events(TAKEN)},
        # Its word that it lives, too: a server on SQLite may drop an event, and of these a run sends many.
        heard={PREPARES, LIVES, *_events([*RUNNING, "Cancelling", *ENDED, *WAITS])},
        seconds=BEGIN_SECONDS,
        message="A worker took it, and it did not begin: see the worker's log, and start it again.",
    )


def _ending(
    name: str, description: str, *, after: set[str], heard: set[str], seconds: float, message: str
) -> Automation:
    """Of our runs alone: those of others send heartbeats as seldom as they like."""
    return Automation(
        name=name,
        description=description,
        trigger=EventTrigger(
            after=after,
            expect=heard,
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification({**tag_resource(OURS)}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=seconds),
        ),
        actions=[ChangeFlowRunState(name="Crashed", state=StateType.CRASHED, message=message, force=False)],
    )


def _events(states: Iterable[str]) -> set[str]:
    return {f"prefect.flow-run.{state}" for state in states}


def mending(model: str, deployment: UUID) -> Automation:
    """The rule that ends MLflow's part of a run that was lost, or cancelled without a word from its process."""
    return Automation(
        name=f"End MLflow's part of lost runs: {model}",
        description="Starts the flow `mend`, which looks whether MLflow believes that the run goes on.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed", "prefect.flow-run.Cancelled"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification({**tag_resource(model)}),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=deployment,
                job_variables=None,
                parameters={"run": {"__prefect_kind": "jinja", "template": "{{ flow_run.id }}"}},
            )
        ],
    )


def reacting(model: str, deployment: UUID) -> Automation:
    """That each alarm of `graftline watch` about the model starts this deployment."""
    return Automation(
        name=f"Ask the retraining policy at alarms: {model}",
        description="Starts the flow `react`, which asks mlflow/retraining.yaml whether a candidate is to be started.",
        trigger=EventTrigger(
            expect={f"{ALARM}.*"},
            match=ResourceSpecification({"prefect.resource.id": resource_of(model)}),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[RunDeployment(source="selected", deployment_id=deployment, job_variables=None, parameters=None)],
    )
