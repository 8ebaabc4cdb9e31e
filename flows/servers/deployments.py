"""All that a Prefect server needs before its worker starts: a work pool, the deployments, and an end for lost runs."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from graftline.errors import GraftlineError
from graftline.flows.servers.commands import POOL_TEMPLATE, WORK_POOL
from graftline.flows.servers.forms import REACT, called, fill_in, find
from graftline.flows.servers.lost_runs import UNDER_WAY, lost_state
from graftline.flows.servers.plans import PLANNED, Plan, Tree, planned, read_tree, tagged
from graftline.flows.servers.rules import mending, reacting, set_rule, set_rules
from graftline.settings import PARAMS, read_settings
from graftline.tasks.workspace import Workspace


def prepare(params: Path) -> None:
    """Register everything that `prefect.yaml` names at the server that PREFECT_API_URL names. Repeatable.

    To be called while no worker runs: a run that the server believes under way is then a lost one.
    """
    with get_client(sync_client=True) as client:
        _set_work_pool(WORK_POOL)
        _deploy(client, read_tree(Path("prefect.yaml").read_text(encoding="utf-8")))
        fill_in(client, Workspace(Path.cwd()), params)
        _end_lost_runs(client)
        set_rules(client)
        _close_loop(client, read_settings(params).registry.model)


def deploy_plan(params: Path, plan: Plan) -> list[str]:
    """The same for a team's server: as the plan says, with names of the model's own, and no run is ended.

    Returns: the names of the deployments.
    Raises: SettingsError if prefect.yaml is wrong; GraftlineError if the server takes less than all of it.
    """
    tree = planned(read_tree(Path("prefect.yaml").read_text(encoding="utf-8")), plan)
    with get_client(sync_client=True) as client:
        if not _has_pool(client, plan.pool):
            _set_work_pool(plan.pool)
        _deploy(client, tree)
        branch = "" if plan.source.commit else plan.source.branch
        fill_in(client, Workspace(Path.cwd()), params, named=plan.model, branch=branch)
        set_rules(client)
        set_rule(client, mending(plan.model, client.read_deployment_by_name(f"mend/{plan.model}").id))
        _close_loop(client, plan.model, named=plan.model)
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


def _deploy(client: SyncPrefectClient, tree: Tree) -> None:
    """Deploy what a prefect.yaml names, our flows with our tag; what the page planned or switched on stays so."""
    present = {one.id: one.schedules for one in client.read_deployments()}
    made_in_page = _made_in_page(client)
    with NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump(tagged(tree), file)
        file.flush()
        _prefect("--no-prompt", "deploy", "--all", "--prefect-file", file.name)
    for deployment in client.read_deployments():
        keep_switched(client, deployment, present.get(deployment.id, []))
    _give_back(client, made_in_page)


def keep_switched(
    client: SyncPrefectClient, deployment: DeploymentResponse, present: Sequence[DeploymentSchedule]
) -> None:
    """Switch the schedules that deploying made anew as those before were switched.

    One that the file has switched on goes on, except that of `graftline deploy --schedule`: that it is off was said in
    the page.
    """
    for one in deployment.schedules:
        before = next((old for old in present if _is_the_same(one, old)), None)
        if before is None or one.id is None or before.active == one.active:
            continue
        if before.active or one.slug == PLANNED:
            client.update_deployment_schedule(deployment.id, one.id, active=before.active)


def _set_work_pool(pool: str) -> None:
    with NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as template:
        json.dump(POOL_TEMPLATE, template)
        template.flush()
        options = ("--type", "process", "--base-job-template", template.name, "--overwrite")
        _prefect("work-pool", "create", pool, *options)


def _is_the_same(one: DeploymentSchedule, other: DeploymentSchedule) -> bool:
    if one.slug is not None and other.slug is not None:
        return one.slug == other.slug
    return one.schedule == other.schedule


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


def _close_loop(client: SyncPrefectClient, model: str, named: str | None = None) -> None:
    """The rule by which an alarm about a model has the retraining policy asked; none in a project without `react`."""
    react = find(client, called(REACT, named))
    if react is not None:
        set_rule(client, reacting(model, react.id))


if __name__ == "__main__":
    prepare(Path(PARAMS))
