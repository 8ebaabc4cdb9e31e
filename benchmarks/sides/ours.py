"""Our side: what `graftline adapt` does with labelled rows, from raw inputs to an adapted model."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.problems.problem import Labelled, Task
from benchmarks.sides.turns import Clock, Outcome
from graftline.frozen.eviction import open_feature_store
from graftline.frozen.freezing import FreezePoint
from graftline.frozen.rows import InputRows
from graftline.frozen.store import FeatureStore
from graftline.models.classifier import Classifier
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.outputs import Outputs
from graftline.models.preprocessing import Preprocessor
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.single_label import objective_for
from graftline.training.strategies import Adaptation
from graftline.training.validation_score import predict

# Of the labelled rows: they choose the penalty or the epoch. The other sides train on these, too.
VALIDATION_SHARE = 0.15
Right = NDArray[np.bool_]
LIMIT_BYTES = 20_000_000_000
TEST_BATCH = 32


@dataclass(frozen=True)
class Adapted:
    """An adapted model and what it took."""

    model: Classifier
    preprocessor: Preprocessor
    seconds: float
    """From the raw inputs on; the base model is loaded before."""
    store_seconds: float
    """Of these, while the feature store was open: in feature extraction all that the backbone does."""
    processor_seconds: float
    """The time of the processor meanwhile, which other work on a machine hardly changes."""


@dataclass
class _Stores:
    """Opens stores below a folder and counts how long they are open."""

    folder: Path
    settings: AdaptationSettings
    seconds: float = field(default=0.0)

    @contextmanager
    def __call__(self, point: FreezePoint) -> Iterator[FeatureStore]:
        began = Clock.seconds()
        key, precision = str(point.first_trainable), self.settings.feature_precision
        with open_feature_store(self.folder, key, precision=precision, limit_bytes=LIMIT_BYTES) as store:
            yield store
        self.seconds += Clock.seconds() - began


def adapt(
    task: Task, settings: AdaptationSettings, *, features: Path | None = None, device: Literal["cpu", "cuda"] = "cpu"
) -> Adapted:
    """Adapt the base model. What is kept of its frozen part stays in `features`; None: nothing was kept before.

    It computes on the `device` as every other side does, whatever the settings say.
    """
    settings = settings.model_copy(update={"device": device})
    preprocessor = load_preprocessor(task.base, task.reading)
    outputs = Outputs("single_label", task.labels)
    model = load_base(task.base, outputs, reading=task.reading, seed=settings.seed, head=settings.head)
    with tempfile.TemporaryDirectory() as scratch:
        folder = features or Path(scratch) / "features"
        folder.mkdir(parents=True, exist_ok=True)
        stores = _Stores(folder, settings)
        began, worked = Clock.seconds(), time.process_time()
        Adaptation(
            model, _split(task, preprocessor), settings, objective_for, stores, Path(scratch) / "checkpoints"
        ).run()
        seconds, worked = Clock.seconds() - began, time.process_time() - worked
    return Adapted(model, preprocessor, seconds, stores.seconds, worked)


def with_openvino(settings: AdaptationSettings) -> AdaptationSettings:
    """The same, with OpenVINO in front of the freeze point."""
    return settings.model_copy(update={"runtime": "openvino"})


def adapted_outcome(task: Task, settings: AdaptationSettings, *, features: Path | None = None) -> Outcome:
    """How long it takes to adapt the model, and how good it is then, in float32, as it would be registered."""
    adapted = adapt(task, settings, features=features)
    return Outcome(adapted.seconds, share_right(adapted, task.test))


def share_right(adapted: Adapted, labelled: Labelled) -> float:
    """The accuracy of an adapted model on these rows."""
    return float(rows_right(adapted, labelled).mean())


def rows_right(adapted: Adapted, labelled: Labelled) -> Right:
    """Which of these rows an adapted model answers right: (rows,)."""
    rows = _rows(adapted.preprocessor, labelled)
    right: Right = (predict(adapted.model, rows, batch_size=TEST_BATCH).argmax(1) == rows.targets).numpy()
    return right


def held_rows(rows: int) -> int:
    """How many of the labelled rows, the first ones, choose the penalty or the epoch."""
    return max(2, round(VALIDATION_SHARE * rows))


def _split(task: Task, preprocessor: Preprocessor) -> Mapping[str, InputRows]:
    held = held_rows(len(task.train.targets))
    rows = _rows(preprocessor, task.train)
    return {
        "train": InputRows(preprocessor, rows.encoded[held:], rows.targets[held:]),
        "validation": InputRows(preprocessor, rows.encoded[:held], rows.targets[:held]),
    }


def _rows(preprocessor: Preprocessor, labelled: Labelled) -> InputRows:
    return InputRows(preprocessor, preprocessor.encode(labelled.inputs), torch.tensor(labelled.targets))
