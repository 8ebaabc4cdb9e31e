"""All that a Prefect server needs before its worker starts: a work pool, the deployments, and an end for lost runs."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile

from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import DeploymentSchedule, StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from graftline.flows.servers.commands import HEARTBEAT_SECONDS, POOL_TEMPLATE, WORK_POOL
from graftline.flows.servers.forms import ADAPT, fill_in
from graftline.flows.servers.lost_runs import UNDER_WAY, lost_state
from graftline.settings import PARAMS
from graftline.tasks.workspace import Workspace

# Two lost heartbeats and a margin: a busy machine may delay one.
LOST_AFTER_SECONDS = 3 * HEARTBEAT_SECONDS
LOST_RUNS = "End lost runs"
ENDED = ("Completed", "Failed", "Crashed", "Cancelled")
# It has no process and sends no heartbeats until someone answers.
WAITING = "Suspended"


def prepare(params: Path) -> None:
    """Register everything that `prefect.yaml` names at the server that PREFECT_API_URL names. Repeatable.

    To be called while no worker runs: a run that the server believes under way is then a lost one.
    """
    with get_client(sync_client=True) as client:
        switched_on, made_in_page = _switched_on(client), _made_in_page(client)
        _make_work_pool()
        _prefect("--no-prompt", "deploy", "--all")
        fill_in(client, Workspace(Path.cwd()), params)
        deployment = client.read_deployment_by_name(ADAPT)
        for planned in deployment.schedules:
            if planned.id and any(_is_the_same(planned, one) for one in switched_on):
                client.update_deployment_schedule(deployment.id, planned.id, active=True)
        _give_back(client, made_in_page)
        _end_lost_runs(client)
        _set_end_of_lost_runs(client)


def _make_work_pool() -> None:
    with NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as template:
        json.dump(POOL_TEMPLATE, template)
        template.flush()
        options = ("--type", "process", "--base-job-template", template.name, "--overwrite")
        _prefect("work-pool", "create", WORK_POOL, *options)


def _switched_on(client: SyncPrefectClient) -> list[DeploymentSchedule]:
    """The schedules that someone switched on in the page; deploying again makes them anew, as prefect.yaml says."""
    try:
        deployment = client.read_deployment_by_name(ADAPT)
    except ObjectNotFound:
        return []
    return [planned for planned in deployment.schedules if planned.active]


def _is_the_same(one: DeploymentSchedule, other: DeploymentSchedule) -> bool:
    return one.schedule == other.schedule or (one.slug is not None and one.slug == other.slug)


def _made_in_page(client: SyncPrefectClient) -> dict[str, list[DeploymentSchedule]]:
    """The schedules of each deployment that someone made in the page, which deploying removes.

    Those of prefect.yaml have a slug.
    """
    return {
        f"{client.read_flow(deployment.flow_id).name}/{deployment.name}": planned
        for deployment in client.read_deployments()
        if (planned := [one for one in deployment.schedules if one.slug is None])
    }


def _give_back(client: SyncPrefectClient, schedules: Mapping[str, Sequence[DeploymentSchedule]]) -> None:
    """Make the schedules anew that are no longer there; a deployment may be gone, too."""
    for name, planned in schedules.items():
        try:
            deployment = client.read_deployment_by_name(name)
        except ObjectNotFound:
            continue
        present = [one.schedule for one in deployment.schedules]
        if any(one.slug is None for one in deployment.schedules):
            continue  # a prefect.yaml without slugs, of which nobody can tell what it once held
        missing = [
            DeploymentScheduleCreate(schedule=one.schedule, active=one.active, parameters=one.parameters)
            for one in planned
            if one.schedule not in present
        ]
        if missing:
            client.create_deployment_schedules(deployment.id, missing)


def _prefect(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "prefect", *arguments], check=True)  # noqa: S603 - the command is ours


def _end_lost_runs(client: SyncPrefectClient) -> None:
    under_way = FlowRunFilter.model_validate({"state": {"type": {"any_": UNDER_WAY}}})
    for run in client.read_flow_runs(flow_run_filter=under_way):
        client.set_flow_run_state(run.id, lost_state(), force=True)


def _set_end_of_lost_runs(client: SyncPrefectClient) -> None:
    """Give the server the rule in its present form; one that someone switched off in the page stays so."""
    rule = _end_lost_runs_automation()
    found = client.read_automations_by_name(LOST_RUNS)
    if not found:
        rule.create()
    for present in found:
        client.update_automation(present.id, rule.model_copy(update={"enabled": present.enabled}))


def _end_lost_runs_automation() -> Automation:
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
            within=timedelta(seconds=LOST_AFTER_SECONDS),
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


if __name__ == "__main__":
    prepare(Path(PARAMS))
