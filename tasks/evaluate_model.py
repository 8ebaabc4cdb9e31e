"""Step 4, evaluate_model: candidate, champion and what costs nothing, scored on exactly the same held-out rows."""

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import JsonValue

from graftline.digests import lines_sha256
from graftline.errors import RegistryRefusedError
from graftline.files import write_atomically, write_json
from graftline.settings import Settings
from tasks.accepted_rows import LIBRARIES_OF, questions, raw_inputs, read_split
from tasks.artifacts import StepFolder, Workspace, produce
from tasks.fine_tune import Checkpoint, thread_count, use_threads
from tasks.serving import score_in_fresh_process
from tasks.validate_data import ValidatedData

if TYPE_CHECKING:
    from graftline.metrics import Floats, Integers, Score

STEP = "evaluate_model"
LIBRARIES = ("torch", "transformers", "numpy", "matplotlib")
SUMMARY, PREDICTIONS, CONFUSION, RELIABILITY = (
    "evaluation.json",
    "predictions.parquet",
    "confusion.png",
    "reliability.png",
)

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
    champion: Champion | None
    scores: Scores
    champion_scores: Scores | None
    difference: Scores | None
    """Candidate minus champion, paired on rows."""
    majority_accuracy: float
    obstacle: str | None
    """Why the champion could not be scored, if so."""
    predictions_sha256: str
    details: dict[str, JsonValue]
    """All numbers, also those per class and slice."""


@task(name="4 evaluate_model", persist_result=False, cache_policy=NO_CACHE)
def evaluate_model(
    workspace: Workspace, settings: Settings, data: ValidatedData, checkpoint: Checkpoint, champion: Champion | None
) -> Evaluation:
    """Score the candidate on the held-out rows, and the champion, through its own preprocessing, on the same ones."""
    depends_on: dict[str, JsonValue] = {
        "checkpoint": checkpoint.folder.key,
        "test_rows": data.test_sha256,
        "slices": list(settings.data.slices),
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
    import numpy as np

    from graftline.inference import Predictor
    from graftline.metrics import confusion, reliability

    slices = {name: f"slice.{name}" for name in settings.data.slices}
    rows = read_split(data, "test", ["row_id", "target", *slices.values()])
    targets = np.array([data.labels.index(label) for label in rows["target"]])
    use_threads(settings.adaptation)
    probabilities = Predictor(checkpoint.model).probabilities(raw_inputs(workspace, data, "test"))
    logger.info(
        "scoring %d held-out rows, each interval from %d resamples", len(targets), settings.evaluation.bootstrap
    )
    table, bins = confusion(probabilities, targets), reliability(probabilities, targets)
    summary: dict[str, JsonValue] = {
        "rows": len(targets),
        "labels": list(data.labels),
        "test_sha256": data.test_sha256,
        "scores": _scores(probabilities, targets, settings),
        "confusion": table.tolist(),
        "reliability": cast("JsonValue", bins),
        "classes": _classes(table, data.labels),
        "slices": {name: _slices(rows[column], probabilities, targets, settings) for name, column in slices.items()},
        "majority": _majority(data, targets, settings),
        "predictions_sha256": predictions_sha256(rows["row_id"], probabilities),
        **_against_champion(workspace, settings, data, champion, probabilities, targets),
    }
    _write_pictures(folder, summary, data)
    _write_predictions(folder, rows, data.labels, probabilities)
    write_json(folder / SUMMARY, summary)


def predictions_sha256(row_ids: list[str], probabilities: "Floats") -> str:
    """One digest over the rows' names and every bit of their probabilities, in order of the names."""
    by_name = sorted(zip(row_ids, probabilities.astype("<f8"), strict=True), key=lambda row: row[0])
    return lines_sha256(part for name, values in by_name for part in (name, values.tobytes().hex()))


def _scores(probabilities: "Floats", targets: "Integers", settings: Settings) -> JsonValue:
    from graftline.metrics import scores

    drawn = scores(probabilities, targets, resamples=settings.evaluation.bootstrap, seed=settings.evaluation.seed)
    return _plain(drawn)


def _plain(scored: "dict[str, Score]") -> JsonValue:
    return {name: cast("JsonValue", score.as_json()) for name, score in scored.items()}


def _classes(table: "Integers", labels: tuple[str, ...]) -> JsonValue:
    from graftline.metrics import per_class

    return [{"label": label, **numbers} for label, numbers in zip(labels, per_class(table), strict=True)]


def _slices(values: list[str], probabilities: "Floats", targets: "Integers", settings: Settings) -> JsonValue:
    import numpy as np

    result: list[JsonValue] = []
    for value in sorted(set(values)):
        chosen = np.array([other == value for other in values])
        scored = _scores(probabilities[chosen], targets[chosen], settings)
        result.append({"value": value, "rows": int(chosen.sum()), "scores": scored})
    return result


def _majority(data: ValidatedData, targets: "Integers", settings: Settings) -> JsonValue:
    """What always answering with the training rows' label frequencies would score."""
    import numpy as np

    counts = Counter(read_split(data, "train", ["target"])["target"])
    shares = np.array([counts[label] for label in data.labels], dtype=float) / sum(counts.values())
    scored = _scores(np.tile(shares, (len(targets), 1)), targets, settings)
    return {"label": data.labels[int(shares.argmax())], "scores": scored}


def _against_champion(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    champion: Champion | None,
    probabilities: "Floats",
    targets: "Integers",
) -> dict[str, JsonValue]:
    from graftline.metrics import aligned, differences

    nothing: dict[str, JsonValue] = {"champion_scores": None, "difference": None, "obstacle": None}
    if champion is None:
        return nothing
    try:
        asked, threads = questions(workspace, data, "test"), thread_count(settings.adaptation)
        scored = score_in_fresh_process(workspace, champion.uri, asked, threads=threads)
    except RegistryRefusedError as error:
        return nothing | {"obstacle": f"champion version {champion.version} could not be scored: {error}"}
    theirs = aligned(scored.probabilities, scored.labels, list(data.labels))
    drawn = differences(
        probabilities, theirs, targets, resamples=settings.evaluation.bootstrap, seed=settings.evaluation.seed
    )
    return nothing | {"champion_scores": _scores(theirs, targets, settings), "difference": _plain(drawn)}


def _write_pictures(folder: Path, summary: dict[str, JsonValue], data: ValidatedData) -> None:
    import numpy as np

    from graftline.pictures import confusion_picture, reliability_picture

    write_atomically(folder / CONFUSION, confusion_picture(np.array(summary["confusion"]), data.labels))
    bins = cast("list[dict[str, float]]", summary["reliability"])
    write_atomically(folder / RELIABILITY, reliability_picture(bins))


def _write_predictions(
    folder: Path, rows: dict[str, list[str]], labels: tuple[str, ...], probabilities: "Floats"
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, list[str] | Floats] = {"row_id": rows["row_id"], "target": rows["target"]}
    columns |= {f"probability.{label}": probabilities[:, place] for place, label in enumerate(labels)}
    parquet.write_table(pa.table(columns), folder / PREDICTIONS)


def _record(folder: StepFolder, champion: Champion | None) -> Evaluation:
    summary = cast("dict[str, JsonValue]", folder.read_json(SUMMARY))
    scores = cast("Scores", summary["scores"])
    majority = cast("dict[str, Scores]", summary["majority"])["scores"]
    logger.info("%s: held-out accuracy %.4f (%s)", STEP, scores["accuracy"]["value"], folder.outcome)
    return Evaluation(
        folder=folder,
        champion=champion,
        scores=scores,
        champion_scores=cast("Scores | None", summary["champion_scores"]),
        difference=cast("Scores | None", summary["difference"]),
        majority_accuracy=majority["accuracy"]["value"],
        obstacle=cast("str | None", summary["obstacle"]),
        predictions_sha256=cast("str", summary["predictions_sha256"]),
        details=summary,
    )
