"""Step 4, evaluate_model: candidate, champion and what costs nothing, scored on exactly the same held-out rows."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import JsonValue

from graftline.digests import lines_sha256
from graftline.errors import RegistryRefusedError
from graftline.files import write_atomically, write_json
from graftline.scoring import SCORING, spelt
from graftline.settings import EvaluationSettings, Settings, Task
from tasks.accepted_rows import LIBRARIES_OF, questions, raw_inputs, read_split, split_targets
from tasks.artifacts import StepFolder, Workspace, produce
from tasks.fine_tune import Checkpoint, thread_count, use_threads
from tasks.serving import score_in_fresh_process
from tasks.validate_data import ValidatedData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftline.metrics import Floats, Score

STEP = "evaluate_model"
LIBRARIES = ("torch", "transformers", "numpy", "matplotlib")
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
    champion_scores: Scores | None
    difference: Scores | None
    """Candidate minus champion, paired on rows."""
    baseline: float
    """The primary score of what needs no model."""
    obstacle: str | None
    """Why the champion could not be scored, if so."""
    predictions_sha256: str
    details: dict[str, JsonValue]
    """All numbers, also those per class and slice."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores predictions for the same rows, always on the same resamples."""

    task: Task
    targets: "NDArray[Any]"
    settings: EvaluationSettings

    def of(self, predictions: "Floats") -> JsonValue:
        from graftline.metrics import scores
        from graftline.task_metrics import METRICS_OF

        return _plain(
            scores(
                predictions, self.targets, resamples=self.settings.bootstrap, seed=self.settings.seed,
                of=METRICS_OF[self.task],
            )
        )  # fmt: skip

    def difference(self, candidate: "Floats", champion: "Floats") -> JsonValue:
        from graftline.metrics import differences
        from graftline.task_metrics import METRICS_OF

        return _plain(
            differences(
                candidate, champion, self.targets, resamples=self.settings.bootstrap, seed=self.settings.seed,
                of=METRICS_OF[self.task],
            )
        )  # fmt: skip

    def on(self, rows: "NDArray[Any]") -> "Scorer":
        """For a part of the rows."""
        return Scorer(self.task, self.targets[rows], self.settings)


@task(name="4 evaluate_model", persist_result=False, cache_policy=NO_CACHE)
def evaluate_model(
    workspace: Workspace, settings: Settings, data: ValidatedData, checkpoint: Checkpoint, champion: Champion | None
) -> Evaluation:
    """Score the candidate on the held-out rows, and the champion, through its own preprocessing, on the same ones."""
    depends_on: dict[str, JsonValue] = {
        "checkpoint": checkpoint.folder.key,
        "test_rows": data.test_sha256,
        "slices": list(settings.data.slices),
        "target": settings.data.target,
        "settings": settings.evaluation.model_dump(mode="json"),
        "threads": thread_count(settings.adaptation),
        "champion": champion.uri if champion else None,
    }
    folder = produce(
        workspace,
        STEP,
        depends_on=depends_on,
        libraries=(*LIBRARIES, *LIBRARIES_OF[data.kind]),
        build=lambda folder: _build(folder, workspace, settings, data, checkpoint, champion),
    )
    return _record(folder, champion)


def _build(
    folder: Path,
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    checkpoint: Checkpoint,
    champion: Champion | None,
) -> None:
    from graftline.examination import baseline, examine
    from graftline.inference import Predictor

    slices = {name: f"slice.{name}" for name in settings.data.slices}
    rows = read_split(data, "test", ["row_id", "target", *slices.values()])
    targets = split_targets(data, "test").numpy()
    scores = Scorer(data.task, targets, settings.evaluation)
    use_threads(settings.adaptation)
    predictions = Predictor(checkpoint.model).predict(raw_inputs(workspace, data, "test"))
    logger.info(
        "scoring %d held-out rows, each interval from %d resamples", len(targets), settings.evaluation.bootstrap
    )
    seen = examine(data.task, predictions, targets, labels=data.labels, target_name=settings.data.target)
    without_model, guesses = baseline(data.task, split_targets(data, "train").numpy(), len(targets), data.labels)
    pictures = {title: f"{title.split()[0].lower()}.png" for title in seen.pictures}
    summary: dict[str, JsonValue] = {
        "task": data.task,
        "rows": len(targets),
        "labels": list(data.labels),
        "test_sha256": data.test_sha256,
        "scores": scores.of(predictions),
        "confusion_names": list(seen.confusion_names),
        "confusion": seen.confusion.tolist(),
        "reliability": [dict(entry) for entry in seen.reliability],
        "classes": [{"label": label, **numbers} for label, numbers in zip(data.labels, seen.classes, strict=True)],
        "slices": {name: _slices(rows[column], predictions, scores) for name, column in slices.items()},
        "majority": {"label": without_model, "scores": scores.of(guesses)},
        "predictions_sha256": predictions_sha256(rows["row_id"], predictions),
        "pictures": cast("JsonValue", pictures),
        **_against_champion(workspace, settings, data, champion, predictions, scores),
    }
    for title, name in pictures.items():
        write_atomically(folder / name, seen.pictures[title])
    _write_predictions(folder, rows, data.labels, predictions)
    write_json(folder / SUMMARY, summary)


def predictions_sha256(row_ids: list[str], predictions: "Floats") -> str:
    """One digest over the rows' names and every bit of what was predicted for them, in order of the names."""
    by_name = sorted(zip(row_ids, predictions.astype("<f8"), strict=True), key=lambda row: row[0])
    return lines_sha256(part for name, values in by_name for part in (name, values.tobytes().hex()))


def _plain(scored: "dict[str, Score]") -> JsonValue:
    return {name: cast("JsonValue", score.as_json()) for name, score in scored.items()}


def _slices(values: list[str], predictions: "Floats", scores: Scorer) -> JsonValue:
    import numpy as np

    result: list[JsonValue] = []
    for value in sorted(set(values)):
        chosen = np.array([other == value for other in values])
        scored = scores.on(chosen).of(predictions[chosen])
        result.append({"value": value, "rows": int(chosen.sum()), "scores": scored})
    return result


def _against_champion(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    champion: Champion | None,
    predictions: "Floats",
    scores: Scorer,
) -> dict[str, JsonValue]:
    from graftline.metrics import aligned

    nothing: dict[str, JsonValue] = {"champion_scores": None, "difference": None, "obstacle": None}
    if champion is None:
        return nothing
    try:
        asked, threads = questions(workspace, data, "test"), thread_count(settings.adaptation)
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
    return nothing | {"champion_scores": scores.of(theirs), "difference": scores.difference(predictions, theirs)}


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
    summary = cast("dict[str, JsonValue]", folder.read_json(SUMMARY))
    task = cast("Task", summary["task"])
    scores, primary = cast("Scores", summary["scores"]), SCORING[task].primary
    majority = cast("dict[str, Scores]", summary["majority"])["scores"]
    logger.info("%s: held-out %s %.4f (%s)", STEP, spelt(primary), scores[primary]["value"], folder.outcome)
    return Evaluation(
        folder=folder,
        task=task,
        champion=champion,
        scores=scores,
        champion_scores=cast("Scores | None", summary["champion_scores"]),
        difference=cast("Scores | None", summary["difference"]),
        baseline=majority[primary]["value"],
        obstacle=cast("str | None", summary["obstacle"]),
        predictions_sha256=cast("str", summary["predictions_sha256"]),
        details=summary,
    )
