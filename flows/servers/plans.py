"""What is deployed where: on one machine in the project folder, or on a team's server from a git repository."""

from dataclasses import dataclass
from typing import Any

import yaml

from graftline.errors import SettingsError
from graftline.flows.heartbeats import OURS
from graftline.flows.servers.commands import WORK_POOL

CHECKOUT = "graftline.flows.servers.checkout.checkout"
# Those that train: one at a time, and at the commit that they were started for.
TRAINING = ("adapt", "retrain", "search")
FLOWS = "graftline.flows."
# Those of the loop, whose schedules `--loop` switches on.
LOOP = ("watch", "react")
# How Prefect treats a run that begins while the limit is reached.
STRATEGIES = {"drop": "CANCEL_NEW", "wait": "ENQUEUE"}

# prefect.yaml and its parts, as Prefect reads them.
Tree = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where workers get a project from."""

    repository: str
    branch: str
    commit: str | None = None
    """Instead of the head of the branch."""
    folder: str = ""
    """Of the project in the repository."""


@dataclass(frozen=True)
class Plan:
    """What `graftline deploy` was asked for."""

    model: str
    version: str
    """Graftline's, which whoever runs it must have."""
    source: Source
    pool: str = WORK_POOL
    cron: str | None = None
    timezone: str = "UTC"
    when_busy: str = "drop"
    retries: int = 0
    loop: bool = False
    """Whether what is served is watched from now on, and the retraining policy asked."""

    def name(self, deployment: str) -> str:
        """What a deployment of prefect.yaml is called on a server that has those of other projects, too."""
        return self.model if deployment in OF_US else f"{self.model} {deployment}"


OF_US = (*TRAINING, "promote", "override", "rollback", "history", *LOOP)
# The schedule that `graftline deploy --schedule` makes.
PLANNED = "planned"
# What a deployment's version begins with, in whose place it says by which Graftline it was made.
MADE_BY = "graftline "


def planned(tree: Tree, plan: Plan) -> Tree:
    """prefect.yaml as it is deployed to a team's server: names, pool, checkout, schedule and limit are the plan's."""
    deployments = [*(_planned(one, plan) for one in tree["deployments"]), _mending(plan)]
    return {"name": plan.model, "deployments": deployments}


def _planned(deployment: Tree, plan: Plan) -> Tree:
    name = deployment["name"]
    trains = name in TRAINING
    made: Tree = {
        **deployment,
        "name": plan.name(name),
        "version": f"{MADE_BY}{plan.version}",
        "tags": [*dict.fromkeys([*(deployment.get("tags") or []), plan.model])],
        "work_pool": {**(deployment.get("work_pool") or {}), "name": plan.pool},
        "pull": [{CHECKOUT: _where(plan, waits=trains)}],
    }
    if trains:  # a form that is sent while another run trains is a person's wish, and waits
        strategy = STRATEGIES[plan.when_busy if name == TRAINING[0] else "wait"]
        made["concurrency_limit"] = {"limit": 1, "collision_strategy": strategy}
    if name == TRAINING[0] and plan.cron is not None:
        made["schedules"] = [{"slug": PLANNED, "cron": plan.cron, "timezone": plan.timezone, "active": True}]
    if name in LOOP and plan.loop:
        made["schedules"] = [{**one, "active": True} for one in deployment.get("schedules") or []]
    return made


def tagged(tree: Tree) -> Tree:
    """With our tag on the deployments of our flows: the rules that end lost runs go by it."""
    return {**tree, "deployments": [_tagged(one) for one in tree["deployments"]]}


def _tagged(deployment: Tree) -> Tree:
    if not str(deployment.get("entrypoint")).startswith(FLOWS):
        return deployment
    return {**deployment, "tags": [*dict.fromkeys([*(deployment.get("tags") or []), OURS])]}


def _mending(plan: Plan) -> Tree:
    """Ends what MLflow believes to go on of a run that is lost. It needs no project, and does not bear its tag."""
    return {
        "name": plan.model,
        "entrypoint": "graftline.flows.mend.mend",
        "description": "Ends MLflow's part of a run that is lost. Started by a rule; nobody needs to.",
        "version": f"{MADE_BY}{plan.version}",
        "work_pool": {"name": plan.pool},
        "pull": [{"prefect.deployments.steps.set_working_directory": {"directory": "."}}],
    }


def _where(plan: Plan, *, waits: bool) -> Tree:
    source = plan.source
    return {
        "repository": source.repository,
        "branch": source.branch,
        "commit": source.commit or "",
        "folder": source.folder,
        "model": plan.model,
        "waits": waits,
        "retries": plan.retries if waits else 0,
    }


def read_tree(text: str) -> Tree:
    """Raises: SettingsError if it is no YAML, or has no deployments."""
    try:
        tree: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"prefect.yaml: not readable ({' '.join(str(error).split())})") from None
    if not isinstance(tree, dict) or not tree.get("deployments"):
        raise SettingsError("prefect.yaml: has no deployments, expected those that `graftline init` writes")
    return tree
