"""All that a Prefect server needs before its worker starts: a work pool, the deployments, and an end for lost runs."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from uuid import UUID

import yaml
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import DeploymentSchedule, StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from graftline.errors import GraftlineError
from graftline.flows.servers.commands import POOL_TEMPLATE, WORK_POOL
from graftline.flows.servers.forms import ADAPT, fill_in
from graftline.flows.servers.lost_runs import UNDER_WAY, lost_state
from graftline.flows.servers.plans import Plan, planned, read_tree
from graftline.flows.servers.reasons import LOST_AFTER
from graftline.settings import PARAMS
from graftline.tasks.workspace import Workspace

LOST_RUNS = "End lost runs"
ENDED = ("Completed", "Failed", "Crashed", "Cancelled")
# It has no process and sends no heartbeats until someone answers.
WAITING = "Suspended"


def prepare(params: Path) -> None:
    """Register everything that `prefect.yaml` names at the server that PREFECT_API_URL names. Repeatable.

    To be called while no worker runs: a run that the server believes under way is then a lost one.
    """
    with get_client(sync_client=True) as client:
        _set_work_pool(WORK_POOL)
        _deploy(client, ADAPT, Path("prefect.yaml"))
        fill_in(client, Workspace(Path.cwd()), params)
        _end_lost_runs(client)
        set_rule(client, _end_lost_runs_automation())


def deploy_plan(params: Path, plan: Plan) -> list[str]:
    """The same for a team's server: as the plan says, with names of the model's own, and no run is ended.

    Returns: the names of the deployments.
    Raises: SettingsError if prefect.yaml is wrong; GraftlineError if the server takes less than all of it.
    """
    tree = planned(read_tree(Path("prefect.yaml").read_text(encoding="utf-8")), plan)
    with get_client(sync_client=True) as client, NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump(tree, file)
        file.flush()
        if not _has_pool(client, plan.pool):
            _set_work_pool(plan.pool)
        adapt = f"adapt/{plan.model}"
        _deploy(client, adapt, Path(file.name), keep_switched_off=plan.cron is not None)
        fill_in(client, Workspace(Path.cwd()), params, named=plan.model)
        set_rule(client, _end_lost_runs_automation())
        set_rule(client, _mending(plan.model, client.read_deployment_by_name(f"mend/{plan.model}").id))
        deployed = client.read_deployments(deployment_filter=_of_tag(plan.model))
        return sorted(f"{client.read_flow(one.flow_id).name}/{one.name}" for one in deployed)


def _of_tag(tag: str) -> DeploymentFilter:
    return DeploymentFilter.model_validate({"tags": {"all_": [tag]}})


def _has_pool(client: SyncPrefectClient, pool: str) -> bool:
    try:
        client.read_work_pool(pool)
    except ObjectNotFound:
        return False
    return True


def open_variables(client: SyncPrefectClient, pool: str) -> list[str]:
    """What whoever starts a run in the pool may bring along, such as a command; none of a pool that we made."""
    try:
        template = client.read_work_pool(pool).base_job_template
    except ObjectNotFound:
        return []
    return sorted(template.get("variables", {}).get("properties", {}))


def _deploy(client: SyncPrefectClient, adapt: str, file: Path, *, keep_switched_off: bool = False) -> None:
    """Deploy a prefect.yaml; what someone planned in the page stays planned."""
    present = _schedules(client, adapt)
    made_in_page = _made_in_page(client)
    _prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(file))
    deployment = client.read_deployment_by_name(adapt)
    for one in deployment.schedules:
        before = next((old for old in present if _is_the_same(one, old)), None)
        if before is None or one.id is None or before.active == one.active:
            continue
        if before.active or keep_switched_off:
            client.update_deployment_schedule(deployment.id, one.id, active=before.active)
    _give_back(client, made_in_page)


def _set_work_pool(pool: str) -> None:
    with NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as template:
        json.dump(POOL_TEMPLATE, template)
        template.flush()
        options = ("--type", "process", "--base-job-template", template.name, "--overwrite")
        _prefect("work-pool", "create", pool, *options)


def _schedules(client: SyncPrefectClient, adapt: str) -> list[DeploymentSchedule]:
    """The present schedules; deploying makes them anew, and someone may have switched them in the page."""
    try:
        return list(client.read_deployment_by_name(adapt).schedules)
    except ObjectNotFound:
        return []


def _is_the_same(one: DeploymentSchedule, other: DeploymentSchedule) -> bool:
    return one.schedule == other.schedule or (one.slug is not None and one.slug == other.slug)


def _made_in_page(client: SyncPrefectClient) -> dict[str, list[DeploymentSchedule]]:
    """The schedules of each deployment that someone made in the page, which deploying removes.

    Those of prefect.yaml have a slug.
    """
    return {
        f"{client.read_flow(deployment.flow_id).name}/{deployment.name}": made
        for deployment in client.read_deployments()
        if (made := [one for one in deployment.schedules if one.slug is None])
    }


def _give_back(client: SyncPrefectClient, schedules: Mapping[str, Sequence[DeploymentSchedule]]) -> None:
    """Make the schedules anew that are no longer there; a deployment may be gone, too."""
    for name, made in schedules.items():
        try:
            deployment = client.read_deployment_by_name(name)
        except ObjectNotFound:
            continue
        present = [one.schedule for one in deployment.schedules]
        if any(one.slug is None for one in deployment.schedules):
            continue  # a prefect.yaml without slugs, of which nobody can tell what it once held
        missing = [
            DeploymentScheduleCreate(schedule=one.schedule, active=one.active, parameters=one.parameters)
            for one in made
            if one.schedule not in present
        ]
        if missing:
            client.create_deployment_schedules(deployment.id, missing)


def _prefect(*arguments: str) -> None:
    """Raises: GraftlineError if Prefect's command fails; what it says stands on standard error."""
    done = subprocess.run([sys.executable, "-m", "prefect", *arguments], stdout=sys.stderr, check=False)  # noqa: S603
    if done.returncode:
        raise GraftlineError(f"`prefect {' '.join(arguments[:3])}` failed (exit code {done.returncode}); see above why")


def _end_lost_runs(client: SyncPrefectClient) -> None:
    under_way = FlowRunFilter.model_validate({"state": {"type": {"any_": UNDER_WAY}}})
    for run in client.read_flow_runs(flow_run_filter=under_way):
        client.set_flow_run_state(run.id, lost_state(), force=True)


def set_rule(client: SyncPrefectClient, rule: Automation) -> None:
    """Give the server a rule in its present form; one that someone switched off in the page stays so."""
    found = client.read_automations_by_name(rule.name)
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


def _mending(model: str, deployment: UUID) -> Automation:
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


if __name__ == "__main__":
    prepare(Path(PARAMS))
