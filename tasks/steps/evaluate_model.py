"""Step 4, evaluate_model: candidate, champion and baselines, scored on exactly the same held-out rows."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.compute.threads import thread_count, use_threads
from graftline.files import write_json
from graftline.settings import Settings
from graftline.settings.by_value import by_value
from graftline.settings.words import with_partners
from graftline.tasks.data.accepted_rows import READING_LIBRARIES, ValidatedData, read_split
from graftline.tasks.progress import waiting
from graftline.tasks.step import step
from graftline.tasks.step_folders import StepFolder, produce
from graftline.tasks.steps.answer_costs import answer_costs
from graftline.tasks.steps.baselines import Baselines, of_target
from graftline.tasks.steps.behaviour import Examined, behaviour_on
from graftline.tasks.steps.beside_baselines import against_baselines, examples_beside, frozen_model
from graftline.tasks.steps.beside_held_out import NOTHING_BESIDE, BesideHeldOut
from graftline.tasks.steps.beside_teacher import beside_teacher
from graftline.tasks.steps.champion import Champion, champions_predictions, chosen_beside
from graftline.tasks.steps.evaluate_target import scored_on_target
from graftline.tasks.steps.evaluation import SUMMARY, Evaluation, evaluation_of
from graftline.tasks.steps.fine_tune import Checkpoint
from graftline.tasks.steps.group_thresholds import thresholds_of
from graftline.tasks.steps.held_out import (
    Scorer,
    class_slices,
    held_out_groups,
    held_out_slices,
    predictions_sha256,
    slice_scores,
)
from graftline.tasks.steps.held_out_answers import (
    by_class,
    examination_of,
    held_out_answers,
    weak_clusters,
    write_pictures,
    write_predictions,
)
from graftline.tasks.steps.source_task import retention_of
from graftline.tasks.workers.fanout import spread_for
from graftline.tasks.workspace import Workspace
from graftline.verdict.gate import TEACHER

if TYPE_CHECKING:
    from graftline.behaviour.findings import Behaviour
    from graftline.evaluation.metrics import Floats

STEP = "evaluate_model"
LIBRARIES = ("torch", "transformers", "numpy", "scipy", "scikit-learn", "fairlearn", "matplotlib")

logger = logging.getLogger("graftline.evaluate_model")


@step("4 evaluate_model")
def evaluate_model(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    checkpoint: Checkpoint,
    baselines: Baselines,
    champion: Champion | None,
    beside: BesideHeldOut = NOTHING_BESIDE,
) -> Evaluation:
    """Score the candidate on the held-out rows, and the champion, through its own preprocessing, on the same ones.

    What stands `beside` them is asked, too: with a source task, what was forgotten of it; with rows of the target
    domain, how all do there. Of several targets each is scored as if it were the only one, on the rows that have it.
    """
    # It was chosen by what it gained on the first target.
    unchosen = champion and replace(champion, choice=None)
    further = {
        name: _evaluated(
            workspace, _AtTarget(of_target(settings, name), own, checkpoint, baselines.further[name], unchosen)
        )
        for name, own in data.targets.items()
    }
    folder = _evaluated(workspace, _AtTarget(settings, data, checkpoint, baselines, champion, beside, further))
    evaluations = {name: evaluation_of(one, unchosen) for name, one in further.items()}
    return replace(evaluation_of(folder, champion), further=evaluations)


@dataclass(frozen=True)
class _AtTarget:
    """What is scored at one target, and what beside."""

    settings: Settings
    data: ValidatedData
    checkpoint: Checkpoint
    baselines: Baselines
    champion: Champion | None
    beside: BesideHeldOut = NOTHING_BESIDE
    """At the first target only: it is about the version."""
    further: Mapping[str, StepFolder] = field(default_factory=dict)
    """At the first target the evaluations of the others."""


def _evaluated(workspace: Workspace, there: _AtTarget) -> StepFolder:
    settings, data, baselines, champion = there.settings, there.data, there.baselines, there.champion
    depends_on: dict[str, JsonValue] = {
        "checkpoint": there.checkpoint.folder.key,
        "test_rows": data.test_sha256,
        "slices": list(settings.data.slices),
        "group": settings.data.group,
        "target": settings.data.target,
        "settings": by_value(settings.evaluation, "evaluation"),
        "threads": thread_count(settings.adaptation.threads),
        "baselines": {name: rival.folder.key for name, rival in baselines.rivals.items()},
        "left_out": {**baselines.left_out},
        "champion": champion.uri if champion else None,
        "chosen_by": champion.choice.look.plain() if champion and champion.choice else None,
        **there.beside.keys,
        **({"further": {name: one.key for name, one in there.further.items()}} if there.further else {}),
    }
    return produce(
        workspace,
        STEP,
        depends_on=depends_on,
        # Words that take each other's place are code in the settings' room.
        code=(__name__, with_partners.__module__, *TASKS[data.task].modules("outputs", "scores")),
        libraries=(*LIBRARIES, *READING_LIBRARIES[data.kind]),
        build=lambda folder: _build(folder, workspace, there),
    )


@waiting("evaluation, with its intervals and changed inputs")
def _build(folder: Path, workspace: Workspace, there: _AtTarget) -> None:
    settings, data = there.settings, there.data
    use_threads(settings.adaptation.threads)
    rows = read_split(data, "test", ["row_id", "target"])
    # It answers on the processor, whatever adapted it.
    spread = spread_for(settings.adaptation.model_copy(update={"device": "cpu"}))
    answers = held_out_answers(workspace, data, there.checkpoint.model, spread)
    candidate, predictions = answers.candidate, answers.candidate.predictions
    logger.info(
        "scoring %d held-out rows, each interval from %d resamples", len(predictions), settings.evaluation.bootstrap
    )
    seen, found = examination_of(settings, data, answers), weak_clusters(settings, rows["row_id"], answers)
    uncalibrated = answers.uncalibrated
    del answers  # with the vectors, of which nothing else is made
    slices, groups = held_out_slices(data, settings.data.slices), held_out_groups(data, settings.data.group)
    every = [*slices, *class_slices(data, candidate.targets)]
    scores = Scorer(TASKS[data.task].scores, candidate.targets, settings.evaluation, every, groups)
    theirs, obstacle = champions_predictions(workspace, settings, data, there.champion)
    temperature = candidate.predictor.outputs.temperature
    summary: dict[str, JsonValue] = {
        "task": data.task,
        "rows": len(predictions),
        **({} if groups is None else {"groups": len(set(groups))}),
        "labels": list(data.labels),
        "test_sha256": data.test_sha256,
        "scores": scores.of(predictions),
        **by_class(seen, data, temperature, scores_before=scores.of(uncalibrated)),
        "slices": slice_scores([*slices, *found], predictions, scores),
        **against_baselines(there.baselines, predictions, scores),
        "behaviour": _behaviour(workspace, there, candidate, scores).as_json(),
        "predictions_sha256": predictions_sha256(rows["row_id"], predictions, scores.task_scores.is_same),
        "pictures": write_pictures(folder, seen),
        **_beside_champion(there, rows, scores, predictions, theirs),
        "obstacle": obstacle,
        **_beside_teacher(workspace, there, candidate),
        **_further(there),
        **_in_target_domain(workspace, there),
    }
    write_predictions(folder, rows, data.labels, predictions)
    write_json(folder / SUMMARY, summary)


def _behaviour(workspace: Workspace, there: _AtTarget, candidate: Examined, scores: Scorer) -> "Behaviour":
    settings, data = there.settings, there.data
    frozen = frozen_model(settings, candidate, there.baselines)
    seen = behaviour_on(settings, data, candidate, frozen, together=scores.places)
    thresholds, unset = thresholds_of(workspace, settings, data, candidate, scores)
    return replace(
        seen,
        left_out=[*seen.left_out, *unset],
        retention=retention_of(workspace, settings, candidate.predictor, there.beside.source),
        thresholds=thresholds,
        distances=there.beside.distances,
    )


def _beside_champion(
    there: _AtTarget, rows: dict[str, list[str]], scores: Scorer, predictions: "Floats", theirs: "Floats | None"
) -> dict[str, JsonValue]:
    """Scores and costs paired with the champion's on rows, and rows to look at."""
    from graftline.evaluation.examples import Rows

    settings, data, champion, names = there.settings, there.data, there.champion, rows["row_id"]
    named = f"champion version {champion.version}" if champion else ""
    shown = Rows(names, rows["target"], scores.targets, data.labels)

    def costs() -> dict[str, JsonValue]:
        rivals = {name: (rival.against, rival.predictions()) for name, rival in there.baselines.rivals.items()}
        return answer_costs(scores, data.labels, names, predictions, (named, theirs), rivals)

    return {
        "comparison": None if theirs is None else scores.compare(predictions, theirs, named),
        "row_gains": None if theirs is None else scores.row_gains(names, predictions, theirs),
        "chosen": chosen_beside(champion, names, theirs, scores),
        **({"costs": costs()} if settings.evaluation.costs else {}),
        "examples": examples_beside(settings, shown, predictions, (named, theirs), scores, there.baselines),
    }


def _beside_teacher(workspace: Workspace, there: _AtTarget, candidate: Examined) -> dict[str, JsonValue]:
    """Of those only that had one."""
    rival = there.baselines.rivals.get(TEACHER)
    if rival is None:
        return {}
    adaptation, theirs = there.settings.adaptation, rival.predictions()
    beside = beside_teacher(workspace, adaptation, there.data, there.checkpoint, candidate, theirs)
    return {"beside_teacher": {**beside}}


def _further(there: _AtTarget) -> dict[str, JsonValue]:
    """The numbers of more targets, and the name of the first one, where there are several."""
    further: dict[str, JsonValue] = {name: one.read_json(SUMMARY) for name, one in there.further.items()}
    return {"target": there.settings.data.target, "further": further} if further else {}


def _in_target_domain(workspace: Workspace, there: _AtTarget) -> dict[str, JsonValue]:
    """The numbers of the rows that judge there, where there are some."""
    rows, plain = there.beside.target, there.beside.plain
    if rows is None:
        return {}
    settings, data, checkpoint, baselines = there.settings, there.data, there.checkpoint, there.baselines
    scored = scored_on_target(workspace, settings, data, rows, plain, checkpoint, baselines, there.champion)
    return {"target_domain": scored}
