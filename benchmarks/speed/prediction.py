"""Prediction of many texts by the registered model's Predictor, against a pipeline of transformers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer, pipeline

from benchmarks.problems.problem import Task
from benchmarks.sides.ours import adapt
from benchmarks.sides.trainer import MeanPooled
from benchmarks.sides.turns import (
    WARM_UP_ROWS,
    Bench,
    Clock,
    Comparison,
    Measured,
    Outcome,
    Row,
    Side,
    by_turns,
    fastest,
)
from graftline.answers.predicting import predictor_of
from graftline.models.folders import load_classifier, save_classifier
from graftline.models.predictor import Predictor
from graftline.settings.adaptation import AdaptationSettings

OURS, FAST, FASTER, BEST = "Predictor", "Predictor, fast precision", "Predictor, OpenVINO", "pipeline, best"
ROWS = tuple(
    Row("batch prediction of the registered model", ours, BEST, target=1, least_accuracy=0.995)
    for ours in (OURS, FAST, FASTER)
)


@dataclass(frozen=True)
class Setup:
    """How the pipeline is set up."""

    batch_size: int
    precision: Literal["float32", "bfloat16"]
    attention: Literal["sdpa", "eager"] = "sdpa"

    @property
    def what(self) -> str:
        return f"{self.precision}, batch {self.batch_size}, {self.attention} attention, texts sorted by length"


EXACT = Setup(1, "float32")
CANDIDATES = (
    *(Setup(size, "bfloat16") for size in (4, 8, 16, 32, 64)),
    Setup(8, "bfloat16", "eager"),
    *(Setup(size, "float32") for size in (1, 4, 8, 32)),
)


def measure(bench: Bench, task: Task) -> Mapping[str, Measured]:
    """The same adapted model on both sides. "Accuracy" is the share of labels equal to those of the plain model."""
    folder = bench.scratch / "predicted model"
    folder.mkdir()
    adapted = adapt(task, AdaptationSettings(strategy="feature_extraction", precision=bench.fast))
    save_classifier(adapted.model, adapted.preprocessor, folder)
    texts = list(task.train.inputs)
    expected = dict(zip(texts, _Pipeline(folder, EXACT, task).labels(texts), strict=True))

    def compared(labels: Sequence[str], rows: Task, seconds: float) -> Outcome:
        right = sum(label == expected[text] for label, text in zip(labels, rows.train.inputs, strict=True))
        return Outcome(seconds, right / len(labels))

    def of_ours(predictor: Predictor, rows: Task) -> Outcome:
        began = Clock.seconds()
        probabilities = predictor.predict(rows.train.inputs)
        seconds = Clock.seconds() - began
        return compared([task.labels[place] for place in probabilities.argmax(1)], rows, seconds)

    def of_pipeline(way: "_Pipeline", rows: Task) -> Outcome:
        began = Clock.seconds()
        labels = way.labels(list(rows.train.inputs))
        return compared(labels, rows, Clock.seconds() - began)

    few = task.small(WARM_UP_ROWS)
    exact, fast = predictor_of(folder), predictor_of(folder, precision=bench.fast)
    faster = predictor_of(folder, precision=bench.fast, runtime="openvino")
    tried = [setup for setup in CANDIDATES if setup.precision in ("float32", bench.fast)]
    ways = [_Pipeline(folder, setup, task) for setup in tried]
    best = fastest(ways, lambda way: of_pipeline(way, few).seconds)
    sides: list[Side[Task]] = [
        Side(OURS, "float32, as it is registered", lambda rows, _: of_ours(exact, rows)),
        Side(FAST, bench.fast, lambda rows, _: of_ours(fast, rows)),
        Side(FASTER, bench.fast, lambda rows, _: of_ours(faster, rows)),
        Side(BEST, best.setup.what, lambda rows, _: of_pipeline(best, rows)),
    ]
    return by_turns(bench, sides, task, small=few)


class _Pipeline:
    """An adapted model in transformers' pipeline."""

    def __init__(self, folder: Path, setup: Setup, task: Task) -> None:
        self.setup = setup
        adapted = load_classifier(folder)
        backbone = AutoModel.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, attn_implementation=setup.attention
        )
        model = MeanPooled(backbone, task.labels)
        layer = model.head[-1]
        assert isinstance(layer, nn.Linear)
        layer.load_state_dict(adapted.output_layer.state_dict())
        model.to(getattr(torch, setup.precision))
        model.eval()
        self._classify: Any = pipeline(
            "text-classification",
            model=model,
            tokenizer=AutoTokenizer.from_pretrained(folder, local_files_only=True),
            batch_size=setup.batch_size,
            device="cpu",
        )
        self._max_tokens = task.reading.max_tokens

    def labels(self, texts: Sequence[str]) -> list[str]:
        """The label of each text; they are sorted by length first, which a pipeline does not do by itself."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]), reverse=True)
        answers = self._classify([texts[place] for place in order], truncation=True, max_length=self._max_tokens)
        said = dict(zip(order, answers, strict=True))
        return [said[place]["label"] for place in range(len(texts))]


COMPARISON = Comparison("prediction", "text", ROWS, measure)
