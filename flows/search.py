"""`graftline search`: settings of the adaptation tried out on the validation rows; the best go through the line."""

import logging
import time
from pathlib import Path
from typing import Annotated, cast

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field, JsonValue

from graftline.evaluation.scoring import spelt
from graftline.flows.adapt import adapt
from graftline.flows.console import show_progress
from graftline.flows.form_fields import Note
from graftline.flows.notifying import tell_failure
from graftline.flows.run_page import Result, Told, name_run, told
from graftline.flows.servers.starting import settings_of_commit
from graftline.flows.torch_instead import torch_instead
from graftline.search.space import Space, space_of
from graftline.search.trials import Trial, begins_another, proposed_at_once
from graftline.settings import Settings, Strategy
from graftline.tasks.base_models.ranked import with_ranked
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.data.in_use import data_in_use
from graftline.tasks.patience import patient
from graftline.tasks.readiness import require_all
from graftline.tasks.searching.outcome import Search, as_json, keep_search, tried
from graftline.tasks.searching.page import write_page
from graftline.tasks.step import require_servers
from graftline.tasks.step_uses import noting_uses
from graftline.tasks.steps.choose_runtime import with_chosen_runtime
from graftline.tasks.steps.choose_strategy import with_chosen_strategy
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.mended_rows import mending_of
from graftline.tasks.steps.pretraining import starting_base
from graftline.tasks.steps.run_trial import run_trial, run_trials
from graftline.tasks.steps.target_domain import TargetDomain, target_domain
from graftline.tasks.steps.target_rows import target_rows
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workers.fanout import fanned_out
from graftline.tasks.workspace import Workspace

TRIALS = 20
HOUR_SECONDS = 3600

logger = logging.getLogger("graftline.search")


def of_search(result: Result) -> Told:
    """A search that ended without a run of the line, by what it found."""
    model = str(result["model"])
    return Told(f"search {model}", (model,), str(result["found"]))


@flow(name="search", persist_result=False, on_failure=[tell_failure], on_crashed=[tell_failure])
@told(of_search)
@torch_instead(show_progress)
def search(
    trials: Annotated[int, Field(ge=1, le=1000)] = TRIALS,
    hours: Annotated[float, Field(ge=0, le=1000)] = 0,
    strategies: list[Strategy] = [],  # noqa: B006 - never changed; Prefect draws a list only from a list
    at_once: Annotated[int, Field(ge=1, le=100)] = 1,
    adapts: bool = True,
    note: Note = "",
    *,
    settings: Settings,
) -> dict[str, JsonValue]:
    """Try settings of the adaptation out on the validation rows, and send the best through the line.

    Trials that have ended, here or before a kill, are not repeated. Returns: what `search --json` prints.

    Args:
        trials: How many settings are tried in all, those of earlier searches with the same settings included.
        hours: No trial is begun that is not expected to end within so many. 0: no limit.
        strategies: Those that are tried. None: probe_then_fine_tune, fine_tuning and lora.
        at_once: How many are proposed together, none of them knowing what the others come to. More of them suit a
            cluster (engine ray in mlflow/compute.yaml), and learn a little less from each other; what is found
            depends on this number, not on how many workers there are.
        adapts: Whether the best settings go through the line at the end, to a verdict on the held-out rows.
        note: Why you start it, for whoever reads the run of the line later in MLflow. May stay empty.
        settings: What is not tried stays as it is here; rates are tried around these.
    """
    workspace = Workspace(Path.cwd())
    settings = with_ranked(workspace, settings_of_commit(workspace, settings))
    require_all(workspace.root, settings)
    require_servers(workspace)
    space_of(settings.adaptation, strategies)  # refuses what does not fit, before anything runs
    noted = noting_uses(workspace, settings.registry.model)
    waiting = patient(settings.registry.wait_for_servers)
    with show_progress(), waiting, noted, data_in_use(workspace), fanned_out(workspace):
        version = data_version(workspace, settings.data)
        name_run(f"{settings.registry.model} search {version.version[:6]}", settings.registry.model)
        data = validate_data(workspace, settings.data, version)
        target = target_rows(workspace, settings, data)
        domain = target_domain(workspace, settings.data, data, target.rows if target else None)
        base = fetch_model(workspace, settings.base_model.uri)
        settings = with_chosen_runtime(workspace, settings, data, base)
        settings, _ = with_chosen_strategy(workspace, settings, data, base, domain)
        space = space_of(settings.adaptation, strategies)
        start = starting_base(workspace, settings.adaptation, data, base, domain)
        ran = _trials(workspace, settings, data, start, domain, space, trials, hours, at_once)
        done = Search(settings, data, space, ran)
        keep_search(workspace, done)
        page = write_page(workspace, done)
    found: Result = {**as_json(done), "page": str(page), "summary": _summary(done, page)}
    if not adapts:
        return found
    return _with_search(adapt.fn(settings.model_copy(update={"adaptation": done.found}), note), found)


def _trials(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    base: BaseModel,
    domain: TargetDomain | None,
    space: Space,
    most: int,
    hours: float,
    at_once: int = 1,
) -> list[Trial]:
    began, limit = time.monotonic(), hours * HOUR_SECONDS or None
    trials: list[Trial] = []
    while len(trials) < most:
        if not begins_another(trials, spent_seconds=time.monotonic() - began, limit_seconds=limit):
            logger.info("search: no further trial would end within %g hours", hours)
            break
        seed, mending = settings.adaptation.seed, mending_of(settings)
        proposals = proposed_at_once(space, trials, seed=seed, count=min(at_once, most - len(trials)))
        if len(proposals) == 1:
            ran = [run_trial(workspace, data, base, space, proposals[0], trials, mending, domain)]
        else:
            ran = run_trials(workspace, data, base, space, proposals, trials, mending, domain)
        for trial in ran:
            trials.append(trial)
            _tell(Search(settings, data, space, trials), most)
    return trials


def _tell(search: Search, most: int) -> None:
    trial = search.trials[-1]
    came_to = f"{spelt(search.score)} {trial.best[0]:.4f}" if trial.scores else trial.why
    state = "" if trial.state == "finished" else f" ({'given up' if trial.state == 'pruned' else 'failed'})"
    logger.info("trial %d of %d: %s: %s%s", len(search.trials), most, tried(search, trial), came_to, state)


def _summary(done: Search, page: Path) -> str:
    write = f"\n\nto keep them, write into params.yaml:\n{done.lines}" if done.lines else "\n"
    return f"{done.sentence}{write}\n{done.caution}\npage: {page}"


def _with_search(judged: Result | State[Result], found: Result) -> Result:
    """The result of the line with what was searched beside it."""
    if not isinstance(judged, State):
        return {**judged, "search": found, "summary": f"{found['summary']}\n\n{judged['summary']}"}
    if not judged.is_completed():
        return cast("Result", judged)
    whole = _with_search(cast("Result", judged.data), found)
    return cast("Result", Completed(message=judged.message, data=whole))
