"""Step 4, evaluate_model: candidate, champion and baselines, scored on exactly the same held-out rows."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.compute.threads import thread_count, use_threads
from graftline.digests import json_sha256
from graftline.evaluation.examination import Answers, Examination
from graftline.evaluation.scoring import spelt
from graftline.files import write_atomically, write_json
from graftline.settings import Settings, Task
from graftline.settings.by_value import by_value
from graftline.settings.words import with_partners
from graftline.tasks.data.accepted_rows import (
    READING_LIBRARIES,
    ValidatedData,
    places_with_target,
    raw_inputs,
    read_split,
    split_targets,
)
from graftline.tasks.progress import Wait, waiting
from graftline.tasks.step import step
from graftline.tasks.step_folders import StepFolder, produce
from graftline.tasks.steps.adapting import MODEL
from graftline.tasks.steps.answer_costs import answer_costs
from graftline.tasks.steps.baselines import FROZEN_HEAD, MAJORITY, Baselines, is_solved_head, of_target
from graftline.tasks.steps.behaviour import Examined, FrozenModel, behaviour_on
from graftline.tasks.steps.beside_held_out import NOTHING_BESIDE, BesideHeldOut
from graftline.tasks.steps.beside_teacher import beside_teacher
from graftline.tasks.steps.champion import Champion, champions_predictions, chosen_beside
from graftline.tasks.steps.evaluate_target import OnTarget, on_target_of, scored_on_target
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
from graftline.tasks.steps.source_task import SourceTask, retention_of
from graftline.tasks.workspace import Workspace
from graftline.verdict.gate import TEACHER

if TYPE_CHECKING:
    from graftline.behaviour.findings import Behaviour
    from graftline.behaviour.held_out import HeldOut
    from graftline.evaluation.bootstrap import Difference
    from graftline.evaluation.comparison import Comparison, Slice
    from graftline.evaluation.examples import Rows
    from graftline.evaluation.metrics import Floats
    from graftline.evaluation.row_gains import RowGains
    from graftline.evaluation.selection import Chosen

STEP = "evaluate_model"
LIBRARIES = ("torch", "transformers", "numpy", "scipy", "scikit-learn", "fairlearn", "matplotlib")
SUMMARY, PREDICTIONS = "evaluation.json", "predictions.parquet"
# Of a target that is the only one, or not the first.
NO_FURTHER: Mapping[str, StepFolder] = MappingProxyType({})

Scores = dict[str, dict[str, float]]

logger = logging.getLogger("graftline.evaluate_model")


@dataclass(frozen=True)
class Evaluation:
    """The word of the held-out rows; `value`, `low` and `high` of every score."""

    folder: StepFolder
    task: Task
    champion: Champion | None
    scores: Scores
    comparison: "Comparison | None"
    """The candidate beside the champion, paired on rows."""
    chosen: "Chosen | None"
    """How the champion does on rows that it was not chosen by, if it was chosen by some."""
    row_gains: "RowGains | None"
    """What it gained beside the champion on each row."""
    baselines: "Mapping[str, Comparison]"
    """The candidate beside each baseline, paired on rows."""
    left_out: Mapping[str, str]
    """Baselines that there is no comparison with, and why."""
    obstacle: str | None
    """Why the champion could not be scored, if so."""
    predictions_sha256: str
    held_out: "HeldOut"
    """All else that there is to show of the rows, also per class and slice."""
    sha256: str
    """The digest of all these numbers."""
    costs: Mapping[str, JsonValue] | None = None
    """What the answers cost, where the settings say what a wrong one does."""
    target: OnTarget | None = None
    """The word of the labelled rows of the target domain, where there are some."""
    beside_teacher: Mapping[str, float] | None = None
    """The share of answers that are its teacher's, and how many times as fast and as small it is, if it had one."""
    first: str | None = None
    """The name of the first of several targets."""
    further: "Mapping[str, Evaluation]" = field(default_factory=dict)
    """The same of each target beside the first one; their numbers count in the digest."""

    @property
    def each(self) -> "dict[str | None, Evaluation]":
        """Every target by its name; None is the first one."""
        each: dict[str | None, Evaluation] = {None: self}
        for name, one in self.further.items():
            each[name] = one
        return each

    @property
    def main_difference(self) -> "Difference | None":
        """By how much the main score is better than the champion's."""
        primary = TASKS[self.task].scores.scoring.primary
        return None if self.comparison is None else self.comparison.differences[primary]


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
        name: _evaluated(workspace, of_target(settings, name), own, checkpoint, baselines.further[name], unchosen)
        for name, own in data.targets.items()
    }
    folder = _evaluated(workspace, settings, data, checkpoint, baselines, champion, beside, further)
    evaluations = {name: _record(one, unchosen) for name, one in further.items()}
    return replace(_record(folder, champion), further=evaluations)


def _evaluated(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    checkpoint: Checkpoint,
    baselines: Baselines,
    champion: Champion | None,
    beside: BesideHeldOut = NOTHING_BESIDE,
    further: Mapping[str, StepFolder] = NO_FURTHER,
) -> StepFolder:
    """The evaluation of one target; that of the first one holds the `further` ones, and what stands `beside` all."""
    depends_on: dict[str, JsonValue] = {
        "checkpoint": checkpoint.folder.key,
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
        **beside.keys,
        **({"further": {name: one.key for name, one in further.items()}} if further else {}),
    }
    return produce(
        workspace,
        STEP,
        depends_on=depends_on,
        # Words that take each other's place are code in the settings' room.
        code=(__name__, with_partners.__module__, *TASKS[data.task].modules("outputs", "scores")),
        libraries=(*LIBRARIES, *READING_LIBRARIES[data.kind]),
        build=lambda folder: _build(
            folder, workspace, settings, data, checkpoint, baselines, champion, beside, further
        ),
    )


@waiting("evaluation, with its intervals and changed inputs")
def _build(
    folder: Path,
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    checkpoint: Checkpoint,
    baselines: Baselines,
    champion: Champion | None,
    beside: BesideHeldOut,
    further: Mapping[str, StepFolder],
) -> None:
    from graftline.evaluation.examples import Rows

    use_threads(settings.adaptation.threads)
    rows = read_split(data, "test", ["row_id", "target"])
    asked = _asked(workspace, data, checkpoint.model)
    predictions, targets = asked.candidate.predictions, asked.candidate.targets
    logger.info(
        "scoring %d held-out rows, each interval from %d resamples", len(targets), settings.evaluation.bootstrap
    )
    seen, found = _examined(settings, data, asked), _weak_clusters(settings, rows["row_id"], asked)
    slices = held_out_slices(data, settings.data.slices)
    groups, every = held_out_groups(data, settings.data.group), [*slices, *class_slices(data, targets)]
    scores = Scorer(TASKS[data.task].scores, targets, settings.evaluation, every, groups)
    theirs, obstacle = champions_predictions(workspace, settings, data, champion)
    named = f"champion version {champion.version}" if champion else ""
    shown = Rows(rows["row_id"], rows["target"], targets, data.labels)
    summary: dict[str, JsonValue] = {
        "task": data.task,
        "rows": len(targets),
        **({} if groups is None else {"groups": len(set(groups))}),
        "labels": list(data.labels),
        "test_sha256": data.test_sha256,
        "scores": scores.of(predictions),
        **_by_class(seen, data, asked.candidate.predictor.outputs.temperature, scores.of(asked.uncalibrated)),
        "slices": slice_scores([*slices, *found], predictions, scores),
        **_against_baselines(baselines, predictions, scores),
        "behaviour": replace(
            _behaviour(workspace, settings, data, asked.candidate, baselines, beside.source, scores),
            distances=beside.distances,
        ).as_json(),
        "predictions_sha256": predictions_sha256(rows["row_id"], predictions),
        "pictures": _write_pictures(folder, seen),
        "comparison": None if theirs is None else scores.compare(predictions, theirs, named),
        "row_gains": None if theirs is None else scores.row_gains(rows["row_id"], predictions, theirs),
        "chosen": chosen_beside(champion, rows["row_id"], theirs, scores),
        "obstacle": obstacle,
        **({"costs": answer_costs(scores, data.labels, predictions, theirs)} if settings.evaluation.costs else {}),
        **_beside_teacher(workspace, settings, data, checkpoint, asked.candidate, baselines),
        "examples": _examples(settings, shown, predictions, (named, theirs), scores, baselines),
        **(_further(settings, further) if further else {}),
    }
    if beside.target is not None:
        summary["target_domain"] = scored_on_target(
            workspace, settings, data, beside.target, beside.plain, checkpoint, baselines, champion
        )
    _write_predictions(folder, rows, data.labels, predictions)
    write_json(folder / SUMMARY, summary)


def _further(settings: Settings, further: Mapping[str, StepFolder]) -> dict[str, JsonValue]:
    """The numbers of more targets, and the name of the first one."""
    return {"target": settings.data.target, "further": {name: one.read_json(SUMMARY) for name, one in further.items()}}


@dataclass(frozen=True)
class _Asked:
    """The candidate with its answers, and more of what it makes of the held-out rows."""

    candidate: Examined
    vectors: "Floats"
    """What the head reads of each row: (rows, width)."""
    uncalibrated: "Floats"
    """The predictions without the temperature."""


def _asked(workspace: Workspace, data: ValidatedData, model: Path) -> _Asked:
    from graftline.answers.predicting import predictor_of

    # Of several targets all rows are asked, as a registered model is: a row's last bits depend on those beside it.
    task, predictor = TASKS[data.task], predictor_of(model).of_target(data.target)
    every, places = raw_inputs(workspace, data.with_all_rows, "test"), places_with_target(data, "test")
    features = predictor.features(every, Wait("held-out rows").tell).at(places)
    raws = [every[place] for place in places]
    predictions, targets = predictor.answers(features.outputs), split_targets(data, "test").numpy()
    without_temperature = replace(predictor.outputs, temperature=1.0)
    return _Asked(
        Examined(predictor, raws, predictions, targets, task.scores),
        features.vectors.double().numpy(),
        task.outputs.answers(without_temperature, features.outputs).numpy(),
    )


def _examined(settings: Settings, data: ValidatedData, asked: _Asked) -> Examination:
    one = asked.candidate
    answers = Answers(one.predictions, asked.uncalibrated, one.targets, data.labels, settings.data.target)
    return one.task_scores.examine(answers)


def _weak_clusters(settings: Settings, row_ids: list[str], asked: _Asked) -> "list[Slice]":
    """Rows that lie together where the model does badly."""
    from graftline.evaluation.clusters import worst_clusters

    quality = asked.candidate.task_scores.quality(asked.candidate.predictions, asked.candidate.targets)
    return worst_clusters(asked.vectors, quality, row_ids, seed=settings.evaluation.seed)


def _behaviour(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    candidate: Examined,
    baselines: Baselines,
    source: SourceTask | None,
    scores: Scorer,
) -> "Behaviour":
    seen = behaviour_on(settings, data, candidate, _frozen(settings, candidate, baselines), together=scores.places)
    thresholds, unset = thresholds_of(workspace, settings, data, candidate, scores)
    return replace(
        seen,
        left_out=[*seen.left_out, *unset],
        retention=retention_of(workspace, settings, candidate.predictor, source),
        thresholds=thresholds,
    )


def _write_pictures(folder: Path, seen: Examination) -> dict[str, JsonValue]:
    """The file of each picture, by its title."""
    names = {title: f"{title.split()[0].lower()}.png" for title in seen.pictures}
    for title, name in names.items():
        write_atomically(folder / name, seen.pictures[title])
    return {**names}


def _by_class(
    seen: Examination, data: ValidatedData, temperature: float, scores_before: JsonValue
) -> dict[str, JsonValue]:
    """The numbers class by class, and how sure the model is of itself, before and after its temperature was set."""
    return {
        "confusion_names": list(seen.confusion_names),
        "confusion": seen.confusion.tolist(),
        "classes": [{"label": label, **numbers} for label, numbers in zip(data.labels, seen.classes, strict=True)],
        "reliability": [dict(entry) for entry in seen.reliability],
        "calibration": {
            "temperature": temperature,
            "scores_before": scores_before,
            "reliability_before": [dict(entry) for entry in seen.reliability_before],
        },
    }


def _frozen(settings: Settings, candidate: Examined, baselines: Baselines) -> FrozenModel | None:
    """The model that biases were inherited from; None where the policy leaves that baseline out."""
    from graftline.answers.predicting import predictor_of

    if is_solved_head(settings.adaptation):
        return FrozenModel(candidate.predictions, candidate.predictor.predict)
    rival = baselines.rivals.get(FROZEN_HEAD)
    if rival is None:
        return None
    return FrozenModel(rival.predictions(), lambda raws: predictor_of(rival.folder.path / MODEL).predict(raws))


def _against_baselines(baselines: Baselines, predictions: "Floats", scores: Scorer) -> dict[str, JsonValue]:
    majority = baselines.rivals[MAJORITY]
    return {
        "majority": {"label": majority.answers, "scores": scores.of(majority.predictions())},
        "baselines": {
            name: scores.compare(predictions, rival.predictions(), rival.against)
            for name, rival in baselines.rivals.items()
        },
        "left_out": {**baselines.left_out},
    }


def _beside_teacher(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    checkpoint: Checkpoint,
    candidate: Examined,
    baselines: Baselines,
) -> dict[str, JsonValue]:
    """Of those only that had one."""
    rival = baselines.rivals.get(TEACHER)
    if rival is None:
        return {}
    beside = beside_teacher(workspace, settings.adaptation, data, checkpoint, candidate, rival.predictions())
    return {"beside_teacher": {**beside}}


def _examples(
    settings: Settings,
    rows: "Rows",
    predictions: "Floats",
    champion: "tuple[str, Floats | None]",
    scores: Scorer,
    baselines: Baselines,
) -> JsonValue:
    """Rows to look at, beside the champion where there is one, else beside the best baseline."""
    from graftline.evaluation.examples import examples_of

    most = settings.evaluation.examples
    if not most:
        return None
    against, theirs = champion
    if theirs is None:
        against, theirs = _best_baseline(baselines, scores)
    found = examples_of(scores.task_scores, rows, predictions, theirs, against=against, most=most)
    return cast("JsonValue", asdict(found))


def _best_baseline(baselines: Baselines, scores: Scorer) -> "tuple[str, Floats]":
    primary = scores.task_scores.scoring.primary
    said = {name: rival.predictions() for name, rival in baselines.rivals.items()}
    reached = {name: scores.value(primary, predictions) for name, predictions in said.items()}
    best = max(reached, key=lambda name: reached[name])
    return baselines.rivals[best].against, said[best]


def _write_predictions(
    folder: Path, rows: dict[str, list[str]], labels: tuple[str, ...], predictions: "Floats"
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, list[str] | Floats] = {"row_id": rows["row_id"], "target": rows["target"]}
    names = [f"probability.{label}" for label in labels] or ["prediction"]
    columns |= dict(zip(names, predictions.T, strict=True))
    parquet.write_table(pa.table(columns), folder / PREDICTIONS)


def _record(folder: StepFolder, champion: Champion | None) -> Evaluation:
    from graftline.behaviour.held_out import held_out_of
    from graftline.evaluation.comparison import comparison_of
    from graftline.evaluation.row_gains import row_gains_of
    from graftline.evaluation.selection import chosen_of

    summary = cast("dict[str, JsonValue]", folder.read_json(SUMMARY))
    task = cast("Task", summary["task"])
    scores, primary = cast("Scores", summary["scores"]), TASKS[task].scores.scoring.primary
    plain = cast("dict[str, JsonValue]", summary["baselines"])
    logger.info("%s: held-out %s %.4f (%s)", STEP, spelt(primary), scores[primary]["value"], folder.outcome)
    return Evaluation(
        folder=folder,
        task=task,
        champion=champion,
        scores=scores,
        comparison=comparison_of(summary["comparison"]) if summary["comparison"] else None,
        chosen=chosen_of(summary["chosen"]) if summary["chosen"] else None,
        row_gains=row_gains_of(summary["row_gains"]) if summary["row_gains"] else None,
        baselines={name: comparison_of(compared) for name, compared in plain.items()},
        left_out=cast("dict[str, str]", summary["left_out"]),
        obstacle=cast("str | None", summary["obstacle"]),
        predictions_sha256=cast("str", summary["predictions_sha256"]),
        held_out=held_out_of(summary),
        target=on_target_of(summary.get("target_domain")),
        sha256=json_sha256(summary),
        costs=cast("Mapping[str, JsonValue] | None", summary.get("costs")),
        first=cast("str | None", summary.get("target")),
        beside_teacher=cast("dict[str, float] | None", summary.get("beside_teacher")),
    )
