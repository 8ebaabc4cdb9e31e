"""A part of step 4: what the candidate answers for the held-out rows, examined, and kept for who looks at it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.evaluation.examination import Answers, Examination
from graftline.files import write_atomically
from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import ValidatedData, places_with_target, raw_inputs, split_targets
from graftline.tasks.progress import Wait
from graftline.tasks.steps.behaviour import Examined
from graftline.tasks.steps.evaluation import PREDICTIONS
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from graftline.compute.spread import Spread
    from graftline.evaluation.comparison import Slice
    from graftline.evaluation.metrics import Floats, Integers
    from graftline.frozen.vectors import FiledVectors, Vectors
    from graftline.models.predictor import Predictor
    from graftline.models.preprocessing import Raw


@dataclass(frozen=True)
class HeldOutAnswers:
    """The candidate with its answers, and more of what it makes of the held-out rows."""

    candidate: Examined
    vectors: "Vectors"
    """What the head reads of each row: (rows, width)."""
    uncalibrated: "Floats"
    """The predictions without the temperature."""


def held_out_answers(
    workspace: Workspace, data: ValidatedData, model: Path, spread: "Spread | None" = None
) -> HeldOutAnswers:
    """Those of the model in a folder; with `spread` it computes over shards of rows, here and whatever it is asked."""
    from graftline.answers.predicting import predictor_of

    # Of several targets all rows are asked, as a registered model is: a row's last bits depend on those beside it.
    task, predictor = TASKS[data.task], predictor_of(model).spread_over(spread).of_target(data.target)
    every, places = raw_inputs(workspace, data.with_all_rows, "test"), places_with_target(data, "test")
    outputs, vectors = _outputs_and_vectors(predictor, every, places)
    raws = every if len(places) == len(every) else raw_inputs(workspace, data, "test")
    predictions, targets = predictor.answers(outputs), split_targets(data, "test").numpy()
    without_temperature = replace(predictor.outputs, temperature=1.0)
    return HeldOutAnswers(
        Examined(predictor, raws, predictions, targets, task.scores),
        vectors,
        task.outputs.answers(without_temperature, outputs).numpy(),
    )


def _outputs_and_vectors(
    predictor: "Predictor", every: "Sequence[Raw]", places: "Integers"
) -> "tuple[Tensor, Vectors]":
    """What the head says of the rows at these places, and what it reads of them: (rows, outputs) and (rows, width)."""
    import numpy as np
    import torch

    from graftline.frozen.vectors import room_for

    row_of = np.full(len(every), -1)
    row_of[places] = np.arange(len(places))
    outputs = torch.zeros(len(places), predictor.outputs.width)
    vectors = room_for(len(places), predictor.vector_width)
    for batch, some, said in predictor.in_batches(every, Wait("held-out rows").tell):
        rows = torch.from_numpy(row_of[batch])
        there = rows >= 0
        outputs[rows[there]] = said[there]
        vectors[rows[there]] = some[there]
    return outputs, vectors


def examination_of(settings: Settings, data: ValidatedData, answers: HeldOutAnswers) -> Examination:
    """What its task finds in the answers beside scores."""
    one = answers.candidate
    return one.task_scores.examine(
        Answers(one.predictions, answers.uncalibrated, one.targets, data.labels, settings.data.target)
    )


def weak_clusters(settings: Settings, row_ids: list[str], answers: HeldOutAnswers) -> "list[Slice]":
    """Rows that lie together where the model does badly."""
    from graftline.evaluation.clusters import worst_clusters
    from graftline.frozen.vectors import FiledVectors

    quality = answers.candidate.task_scores.quality(answers.candidate.predictions, answers.candidate.targets)
    vectors = answers.vectors
    doubles = _FromFile(vectors) if isinstance(vectors, FiledVectors) else vectors.double().numpy()
    return worst_clusters(doubles, quality, row_ids, seed=settings.evaluation.seed)


@dataclass(frozen=True, eq=False)
class _FromFile:
    """Vectors in double precision, of which some are in memory at a time."""

    vectors: "FiledVectors"

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def width(self) -> int:
        """How many numbers each has."""
        return self.vectors.width

    def at(self, places: "Integers") -> "Floats":
        """Those of some rows: (places, width)."""
        return self.vectors.at(places.tolist()).double().numpy()

    def blocks(self) -> "Iterator[Floats]":
        """All of them, one block of rows after the other."""
        return (block.double().numpy() for _, block in self.vectors.blocks())


def write_pictures(folder: Path, seen: Examination) -> dict[str, JsonValue]:
    """The file of each picture, by its title."""
    names = {title: f"{title.split()[0].lower()}.png" for title in seen.pictures}
    for title, name in names.items():
        write_atomically(folder / name, seen.pictures[title])
    return {**names}


def by_class(
    seen: Examination, data: ValidatedData, temperature: float, *, scores_before: JsonValue
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


def write_predictions(folder: Path, rows: dict[str, list[str]], labels: tuple[str, ...], predictions: "Floats") -> None:
    """One row each, with what was predicted for it."""
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, list[str] | Floats] = {"row_id": rows["row_id"], "target": rows["target"]}
    names = [f"probability.{label}" for label in labels] or ["prediction"]
    columns |= dict(zip(names, predictions.T, strict=True))
    parquet.write_table(pa.table(columns), folder / PREDICTIONS)
