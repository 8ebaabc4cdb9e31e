"""The whole line: raw data to a model that is promoted, held or rejected."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from prefect import flow
from pydantic import JsonValue

from graftline.flows.console import show_progress
from graftline.flows.form_fields import Note
from graftline.flows.notifying import tell_failure
from graftline.flows.run_page import name_run_under_way, of_verdict, told
from graftline.flows.servers.starting import settings_of_commit
from graftline.flows.torch_instead import torch_instead
from graftline.flows.waiting import wait_for_approval
from graftline.settings import Settings
from graftline.tasks.base_models.ranked import with_ranked
from graftline.tasks.cache import cache_limit, trim_cache
from graftline.tasks.data.in_use import data_in_use
from graftline.tasks.patience import patient
from graftline.tasks.readiness import policy_for, require_all
from graftline.tasks.registry.ownership import require_own_history
from graftline.tasks.rows.labels_page import held_out_in_words
from graftline.tasks.step import require_prefect, require_servers
from graftline.tasks.step_uses import noting_uses
from graftline.tasks.steps.baselines import baselines
from graftline.tasks.steps.beside_held_out import beside_held_out
from graftline.tasks.steps.choose_runtime import with_chosen_runtime
from graftline.tasks.steps.choose_strategy import with_chosen_strategy
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.decide import decide
from graftline.tasks.steps.distances import distances
from graftline.tasks.steps.evaluate_model import evaluate_model
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.fine_tune import fine_tune
from graftline.tasks.steps.foresee import foresee
from graftline.tasks.steps.mended_rows import mending_of
from graftline.tasks.steps.outcome import RunOutcome
from graftline.tasks.steps.publish import bound_pages, publish
from graftline.tasks.steps.question import question_of
from graftline.tasks.steps.receipt import Beginning, beginning_of_run, keep_receipt
from graftline.tasks.steps.register_model import champion_to_beat, register_model
from graftline.tasks.steps.result import result_of
from graftline.tasks.steps.source_task import source_task
from graftline.tasks.steps.target_domain import target_domain
from graftline.tasks.steps.target_rows import target_rows
from graftline.tasks.steps.teacher import fetch_teacher
from graftline.tasks.steps.tracked_run import RunInputs, reopened_run, tracked_run
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workers.fanout import fanned_out
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import Policy


@flow(name="adapt", persist_result=False, on_failure=[tell_failure], on_crashed=[tell_failure])
@told(of_verdict)
@torch_instead(show_progress)
def adapt(settings: Settings, note: Note = "") -> dict[str, JsonValue]:
    """Adapt the base model to the data of the project folder that the process runs in.

    Every step is skipped whose result exists for the same inputs. Returns: what `adapt --json` prints.

    Args:
        settings: Everything that decides what the run does.
        note: Why you start it, for whoever reads the run later in MLflow. May stay empty.
    """
    began = time.monotonic()
    workspace = Workspace(Path.cwd())
    settings = with_ranked(workspace, settings_of_commit(workspace, settings))
    policy, beginning = _ready(workspace, settings)
    with _under_way(workspace, settings) as ended_with, ExitStack() as reading:
        reading.enter_context(data_in_use(workspace))
        version = data_version(workspace, settings.data)
        name_run_under_way(settings, version)
        data = validate_data(workspace, settings.data, version)
        target = target_rows(workspace, settings, data)
        domain = target_domain(workspace, settings.data, data, target.rows if target else None)
        base = fetch_model(workspace, settings.base_model.uri)
        teacher = fetch_teacher(workspace, settings.adaptation, data)
        source = source_task(workspace, settings, base)
        settings = with_chosen_runtime(workspace, settings, data, base)
        settings, choice = with_chosen_strategy(workspace, settings, data, base, domain)
        apart = distances(workspace, settings, data, base, source, domain)
        labels = held_out_in_words(workspace, settings, data, base)
        inputs = RunInputs(settings, policy, data, base, source, domain, target, note, choice, labels, teacher)
        with tracked_run(workspace, inputs) as run:
            foreseen = foresee(workspace, settings, policy.baselines, data, base, run)
            costs = settings.evaluation.costs
            checkpoint = fine_tune(workspace, settings.adaptation, data, base, run, mending_of(settings), domain, costs)
            beside = beside_held_out(workspace, inputs, apart)
            rivals = baselines(workspace, settings, policy.baselines, data, base, teacher)
            question = question_of(inputs, checkpoint)
            champion = champion_to_beat(workspace, settings.registry.model, run, question)
            evaluation = evaluate_model(workspace, settings, data, checkpoint, rivals, champion, beside)
            candidate = register_model(workspace, settings.registry.model, run, data, checkpoint, evaluation, question)
            outcome = partial(RunOutcome, inputs, run, checkpoint, rivals, evaluation, candidate, foreseen=foreseen)
            decision = decide(workspace, policy, candidate, evaluation, bound_pages(workspace, outcome))
            done = outcome(decision)
            report = publish(workspace, done)
        ended_with(candidate.version)
        reading.close()
        if decision.due:  # after the run's lock was given back: it may take days
            done, report = _answered(workspace, done)
        require_prefect()  # which is told next how the run ended
    keep_receipt(workspace, done, report, beginning)
    trim_cache(workspace)
    return result_of(done, report, time.monotonic() - began)


def _ready(workspace: Workspace, settings: Settings) -> tuple[Policy, Beginning | None]:
    """Refuse what can be refused before anything runs. Returns: the policy, and what there was when the run began."""
    require_all(workspace.root, settings)
    require_servers(workspace)
    cache_limit()  # refuses what is none
    require_own_history(workspace, settings.registry.model)
    beginning = beginning_of_run(workspace, settings)
    return policy_for(workspace, settings), beginning


@contextmanager
def _under_way(workspace: Workspace, settings: Settings) -> Iterator[Callable[[int], None]]:
    """Shows how far the run is, waits for servers, and notes what it uses for the version that it ended with.

    What can be done at once inside is, where there are workers for it.
    """
    registry = settings.registry
    noted = noting_uses(workspace, registry.model)
    with show_progress(), patient(registry.wait_for_servers), noted as ended_with, fanned_out(workspace):
        yield ended_with


def _answered(workspace: Workspace, done: RunOutcome) -> tuple[RunOutcome, Path]:
    """The outcome after a person's answer, or without one in time, and its report."""
    decision = wait_for_approval(workspace, done.candidate, done.evaluation, done.decision)
    with reopened_run(done.run) as again:  # what a person decides changes its pages
        done = replace(done, run=again, decision=decision)
        return done, publish(workspace, done)
