"""Step 4, evaluate_model: candidate, champion and baselines, scored on exactly the same held-out rows."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import JsonValue

from graftline.compute.threads import thread_count, use_threads
from graftline.errors import RegistryRefusedError
from graftline.evaluation.scoring import SCORING, spelt
from graftline.files import write_atomically, write_json
from graftline.settings import Settings, Task
from graftline.tasks.data.accepted_rows import (
    LIBRARIES_OF,
    ValidatedData,
    questions,
    raw_inputs,
    read_split,
    split_targets,
)
from graftline.tasks.serving.trial import score_in_fresh_process
from graftline.tasks.step_folders import StepFolder, produce
from graftline.tasks.steps.adapting import MODEL
from graftline.tasks.steps.baselines import FROZEN_HEAD, MAJORITY, Baselines, is_solved_head
from graftline.tasks.steps.behaviour import Candidate, FrozenModel, behaviour_on
from graftline.tasks.steps.fine_tune import Checkpoint
from graftline.tasks.steps.held_out import Scorer, class_slices, held_out_slices, predictions_sha256, slice_scores
from graftline.tasks.steps.source_task import SourceTask, retention_of
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.evaluation.comparison import Comparison
    from graftline.evaluation.examination import Examination
    from graftline.evaluation.metrics import Floats

STEP = "evaluate_model"
LIBRARIES = ("torch", "transformers", "numpy", "scipy", "scikit-learn", "fairlearn", "matplotlib")
SUMMARY, PREDICTIONS = "evaluation.json", "predictions.parquet"

Scores = dict[str, dict[str, float]]

logger = logging.getLogger("graftline.evaluate_model")


@dataclass(frozen=True)
class Champion:
    """The registered version that a candidate must beat."""

    model: str
    version: int

    @property
    def uri(self) -> str:
        return f"models:/{self.model}/{self.version}"


@dataclass(frozen=True)
class Evaluation:
    """What the held-out rows say; `value`, `low` and `high` of every score."""

    folder: StepFolder
    task: Task
    champion: Champion | None
    scores: Scores
    comparison: "Comparison | None"
    """The candidate beside the champion, paired on rows."""
    baselines: "Mapping[str, Comparison]"
    """The candidate beside each baseline, paired on rows."""
    left_out: Mapping[str, str]
    """Baselines that there is no comparison with, and why."""
    obstacle: str | None
    """Why the champion could not be scored, if so."""
    predictions_sha256: str
    details: dict[str, JsonValue]
    """All numbers, also those per class and slice."""


@task(name="4 evaluate_model", persist_result=False, cache_policy=NO_CACHE)
def evaluate_model(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    checkpoint: Checkpoint,
    baselines: Baselines,
    champion: Champion | None,
    source: SourceTask | None = None,
) -> Evaluation:
    """Score the candidate on the held-out rows, and the champion, through its own preprocessing, on the same ones.

    With a `source` task, what was forgotten of it is asked, too.
    """
    depends_on: dict[str, JsonValue] = {
        "checkpoint": checkpoint.folder.key,
        "test_rows": data.test_sha256,
        "slices": list(settings.data.slices),
        "target": settings.data.target,
        "settings": settings.evaluation.model_dump(mode="json"),
        "threads": thread_count(settings.adaptation.threads),
        "baselines": {name: rival.folder.key for name, rival in baselines.rivals.items()},
        "left_out": {**baselines.left_out},
        "champion": champion.uri if champion else None,
        "source_task": source.folder.key if source else None,
    }
    folder = produce(
        workspace,
        STEP,
        depends_on=depends_on,
        libraries=(*LIBRARIES, *LIBRARIES_OF[data.kind]),
        build=lambda folder: _build(folder, workspace, settings, data, checkpoint, baselines, champion, source),
    )
    return _record(folder, champion)


def _build(
    folder: Path,
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    checkpoint: Checkpoint,
    baselines: Baselines,
    champion: Champion | None,
    source: SourceTask | None,
) -> None:
    from graftline.evaluation.clusters import worst_clusters
    from graftline.evaluation.comparison import row_quality
    from graftline.evaluation.examination import examine
    from graftline.models.predictor import Predictor

    use_threads(settings.adaptation.threads)
    rows = read_split(data, "test", ["row_id", "target"])
    targets = split_targets(data, "test").numpy()
    predictor = Predictor(checkpoint.model)
    raws = raw_inputs(workspace, data, "test")
    look = predictor.look(raws)
    predictions = predictor.answers(look.outputs)
    uncalibrated = replace(predictor.outputs, temperature=1.0).answers(look.outputs).numpy()
    logger.info(
        "scoring %d held-out rows, each interval from %d resamples", len(targets), settings.evaluation.bootstrap
    )
    seen = examine(
        data.task, predictions, targets, uncalibrated=uncalibrated, labels=data.labels, target_name=settings.data.target
    )
    slices = held_out_slices(data, settings.data.slices)
    quality = row_quality(data.task, predictions, targets)
    found = worst_clusters(look.vectors.double().numpy(), quality, rows["row_id"], seed=settings.evaluation.seed)
    scores = Scorer(data.task, targets, settings.evaluation, [*slices, *class_slices(data, targets)])
    candidate = Candidate(predictor, raws, predictions, targets)
    behaviour = replace(
        behaviour_on(settings, data, candidate, _frozen(settings, candidate, baselines)),
        retention=retention_of(workspace, settings, predictor, source),
    )
    pictures = {title: f"{title.split()[0].lower()}.png" for title in seen.pictures}
    summary: dict[str, JsonValue] = {
        "task": data.task,
        "rows": len(targets),
        "labels": list(data.labels),
        "test_sha256": data.test_sha256,
        "scores": scores.of(predictions),
        **_examined(seen, data, checkpoint, scores.of(uncalibrated)),
        "slices": slice_scores([*slices, *found], predictions, scores),
        **_against_baselines(baselines, predictions, scores),
        "behaviour": behaviour.as_json(),
        "predictions_sha256": predictions_sha256(rows["row_id"], predictions),
        "pictures": cast("JsonValue", pictures),
        **_against_champion(workspace, settings, data, champion, predictions, scores),
    }
    for title, name in pictures.items():
        write_atomically(folder / name, seen.pictures[title])
    _write_predictions(folder, rows, data.labels, predictions)
    write_json(folder / SUMMARY, summary)


def _examined(
    seen: "Examination", data: ValidatedData, checkpoint: Checkpoint, scores_before: JsonValue
) -> dict[str, JsonValue]:
    """What was seen class by class, and how sure the model is of itself, before and after its temperature was set."""
    return {
        "confusion_names": list(seen.confusion_names),
        "confusion": seen.confusion.tolist(),
        "classes": [{"label": label, **numbers} for label, numbers in zip(data.labels, seen.classes, strict=True)],
        "reliability": [dict(entry) for entry in seen.reliability],
        "calibration": {
            "temperature": checkpoint.temperature,
            "scores_before": scores_before,
            "reliability_before": [dict(entry) for entry in seen.reliability_before],
        },
    }


def _frozen(settings: Settings, candidate: Candidate, baselines: Baselines) -> FrozenModel | None:
    """What biases were inherited from; None where the policy leaves that baseline out."""
    from graftline.models.predictor import Predictor

    if is_solved_head(settings.adaptation):
        return FrozenModel(candidate.predictions, candidate.predictor.predict)
    rival = baselines.rivals.get(FROZEN_HEAD)
    if rival is None:
        return None
    return FrozenModel(rival.predictions(), lambda raws: Predictor(rival.folder.path / MODEL).predict(raws))


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


def _against_champion(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    champion: Champion | None,
    predictions: "Floats",
    scores: Scorer,
) -> dict[str, JsonValue]:
    from graftline.evaluation.single_label import aligned

    nothing: dict[str, JsonValue] = {"comparison": None, "obstacle": None}
    if champion is None:
        return nothing
    try:
        asked, threads = questions(workspace, data, "test"), thread_count(settings.adaptation.threads)
        scored = score_in_fresh_process(workspace, champion.uri, asked, threads=threads)
    except RegistryRefusedError as error:
        return nothing | {"obstacle": f"champion version {champion.version} could not be scored: {error}"}
    if scored.task != data.task:
        return nothing | {
            "obstacle": f"champion version {champion.version} could not be scored: its task is {scored.task}, not"
            f" {data.task}; choose another registry.model"
        }
    theirs = scored.predictions
    if data.task != "regression":
        theirs = aligned(theirs, scored.labels, list(data.labels))
    return nothing | {"comparison": scores.compare(predictions, theirs, f"champion version {champion.version}")}


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
    from graftline.evaluation.comparison import comparison_of

    summary = cast("dict[str, JsonValue]", folder.read_json(SUMMARY))
    task = cast("Task", summary["task"])
    scores, primary = cast("Scores", summary["scores"]), SCORING[task].primary
    plain = cast("dict[str, JsonValue]", summary["baselines"])
    logger.info("%s: held-out %s %.4f (%s)", STEP, spelt(primary), scores[primary]["value"], folder.outcome)
    return Evaluation(
        folder=folder,
        task=task,
        champion=champion,
        scores=scores,
        comparison=comparison_of(summary["comparison"]) if summary["comparison"] else None,
        baselines={name: comparison_of(compared) for name, compared in plain.items()},
        left_out=cast("dict[str, str]", summary["left_out"]),
        obstacle=cast("str | None", summary["obstacle"]),
        predictions_sha256=cast("str", summary["predictions_sha256"]),
        details=summary,
    )
