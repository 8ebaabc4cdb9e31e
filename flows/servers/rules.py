"""The rules of a Prefect server: what it does by itself at which events."""

from datetime import timedelta
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from graftline.flows.events import ALARM, resource_of
from graftline.flows.servers.reasons import LOST_AFTER

LOST_RUNS = "End lost runs"
ENDED = ("Completed", "Failed", "Crashed", "Cancelled")
# It has no process and sends no heartbeats until someone answers.
WAITING = "Suspended"


def set_rule(client: SyncPrefectClient, rule: Automation) -> None:
    """Give the server a rule in its present form; one that someone switched off in the page stays so."""
    found = client.read_automations_by_name(rule.name)
    if not found:
        rule.create()
    for present in found:
        client.update_automation(present.id, rule.model_copy(update={"enabled": present.enabled}))


def ending_lost_runs() -> Automation:
    """The rule that ends a run whose process died without a word (https://docs.prefect.io/v3/advanced/detect-zombie-flows)."""
    return Automation(
        name=LOST_RUNS,
        description="Ends a run that has sent no heartbeat for a while: its process is gone.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{state}" for state in (*ENDED, WAITING))},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=LOST_AFTER),
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                message="No heartbeat: the run's process is gone; start it again: it resumes.",
                force=False,
            )
        ],
    )


def mending(model: str, deployment: UUID) -> Automation:
    """The rule that ends MLflow's part of a run that was lost, or cancelled without a word from its process."""
    return Automation(
        name=f"End MLflow's part of lost runs: {model}",
        description="Starts the flow `mend`, which looks whether MLflow believes that the run goes on.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed", "prefect.flow-run.Cancelled"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{model}"}
            ),
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
