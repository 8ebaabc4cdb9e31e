"""Predicting with an adapted model: the same code in evaluation and inside of the registered model."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from graftline.compute.device import Batch, without_tf32
from graftline.compute.onnx_graph import GRAPH, read_graph
from graftline.compute.openvino_runtime import Network, compiled
from graftline.compute.precision import Precision
from graftline.compute.spread import Spread
from graftline.evaluation.given import with_answers
from graftline.models.encoded_rows import ChosenRows, lengths_of
from graftline.models.folders import load_classifier, load_preprocessor
from graftline.models.output_kind import OutputKind, Predictions
from graftline.models.outputs import column_of, parts_of
from graftline.models.preprocessing import Encoded, Raw
from graftline.models.spread_vectors import Asked, spread_vectors, vectors_of
from graftline.settings import Task
from graftline.settings.adaptation import Runtime

Device = Literal["cpu", "cuda"]
# `onnx` computes with the graph that lies beside the weights, where the version was exported.
Computes = Runtime | Literal["onnx"]


@dataclass(frozen=True)
class Features:
    """Some inputs as a model has them before it answers."""

    vectors: Tensor
    """In front of its head: (inputs, width)."""
    outputs: Tensor
    """Behind its head, before the temperature: (inputs, outputs)."""


class Predictor:
    """An adapted model, loaded from its folder.

    It is evaluated in float32 by PyTorch on the processor; whatever else is faster answers a little differently.
    """

    def __init__(
        self,
        folder: Path,
        kinds: Mapping[Task, OutputKind],
        *,
        precision: Precision = "float32",
        runtime: Computes = "torch",
        device: Device = "cpu",
    ) -> None:
        """Raises: ValueError for what there is not: MLflow hands on whatever it is given."""
        for what, value, known in (
            ("precision", precision, get_args(Precision)),
            ("runtime", runtime, (*get_args(Runtime), "onnx")),
            ("device", device, get_args(Device)),
        ):
            if value not in known:
                raise ValueError(f"{what} {value!r}: there is none of that name, expected {' or '.join(known)}")
        if device == "cuda" and (runtime != "torch" or not torch.cuda.is_available()):
            raise ValueError(
                f"device cuda with runtime {runtime}: expected runtime torch and a GPU that PyTorch can use; load the"
                " model with device cpu"
            )
        if device == "cuda":
            without_tf32()
        self._model = load_classifier(folder).to(device)
        self._preprocessor = load_preprocessor(folder)
        self._precision, self._runtime = precision, runtime
        self._network: Network | None = None
        if runtime == "onnx":
            self._network = read_graph(folder / GRAPH, threads=torch.get_num_threads())
        self.kind = self._preprocessor.reading.kind
        self.outputs = self._model.outputs
        self._kinds = kinds
        self._columns = slice(0, self.outputs.width)
        self._spread: Spread | None = None

    def spread_over(self, spread: Spread | None) -> "Predictor":
        """The same model with the same answers, computed by whom `spread` has for it; None: by this process.

        Only where PyTorch computes; other runtimes do it here.
        """
        one = copy.copy(self)
        one._spread = spread
        return one

    def of_target(self, name: str | None) -> "Predictor":
        """The same model as if this target, None for the first one, were its only one."""
        (part,) = (part for part in parts_of(self._model.outputs) if part.name == name)
        one = copy.copy(self)
        one.outputs, one._columns = part.outputs, part.columns
        return one

    def predict(self, raws: Sequence[Raw]) -> Predictions:
        """Probability of each label for each input: (inputs, labels); of a regression the numbers: (inputs, 1).

        Of several targets the same of each, beside one another. A model with a rule says beside the probabilities
        which labels it gives.
        """
        outputs = torch.zeros(len(raws), self.outputs.width)
        with torch.inference_mode():
            for batch, vectors in self._vectors(raws):
                outputs[batch] = self._head(vectors)
        return self.answers(outputs)

    def features(self, raws: Sequence[Raw], passed: Callable[[int, int], None] = lambda _, __: None) -> Features:
        """The numbers from which `predict` answers; `passed` is told how many inputs of how many are done."""
        vectors, outputs = torch.zeros(len(raws), self.vector_width), torch.zeros(len(raws), self.outputs.width)
        for batch, some, said in self.in_batches(raws, passed):
            vectors[batch], outputs[batch] = some, said
        return Features(vectors, outputs)

    @torch.inference_mode()
    def in_batches(
        self, raws: Sequence[Raw], passed: Callable[[int, int], None] = lambda _, __: None
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """The same numbers batch by batch: the inputs' places, the vectors and the outputs of these."""
        done = 0
        for batch, some in self._vectors(raws):
            yield batch, some.cpu(), self._head(some)
            done += len(batch)
            passed(done, len(raws))

    @property
    def vector_width(self) -> int:
        """How many numbers the head reads of each input."""
        return self._model.output_layer.in_features

    def answers(self, outputs: Tensor) -> Predictions:
        """The answers of `predict` where the head gave these outputs (inputs, outputs)."""
        parts = [(part, self._kinds[part.outputs.task]) for part in parts_of(self.outputs)]
        answered = [kind.answers(part.outputs, outputs[:, part.columns]) for part, kind in parts]
        predictions: Predictions = torch.cat(answered, dim=1).numpy()
        if not any(part.outputs.has_rule for part, _ in parts):
            return predictions
        given = [kind.given(part.outputs, predictions[:, part.columns]) for part, kind in parts]
        return with_answers(predictions, np.concatenate(given, axis=1))

    def columns(self, predictions: Predictions) -> dict[str, list[Any]]:
        """The answers of a registered model to these predictions, by the names of its columns."""
        found: dict[str, list[Any]] = {}
        for part in parts_of(self.outputs):
            answered = self._kinds[part.outputs.task].answered(predictions[:, part.columns], part.outputs.labels)
            found |= {column_of(part.name, name): values for name, values in answered.items()}
        return found

    def _head(self, vectors: Tensor) -> Tensor:
        outputs: Tensor = self._model.head(vectors)[:, self._columns]
        return outputs.cpu()

    def _vectors(self, raws: Sequence[Raw]) -> Iterator[tuple[list[int], Tensor]]:
        """The places of some inputs, and what the head reads of them, until all had their turn."""
        rows = self._preprocessor.encode(raws)
        batches = self._preprocessor.batches(lengths_of(rows, self._preprocessor))
        if self._runtime != "torch" and rows:
            in_order = [row for batch in batches for row in batch]
            yield in_order, torch.cat(self._one_by_one(ChosenRows(rows, in_order)))
            return
        asked = Asked(self._model, self._preprocessor, self._precision, torch.get_num_threads())
        if self._spread is None:
            vectors = vectors_of(asked, rows, batches)
        else:
            vectors = spread_vectors(asked, rows, batches, self._spread)
        yield from zip(batches, vectors, strict=True)

    def _run(self, batch: Batch) -> Tensor:
        """The vectors that the head reads of a batch: (batch, width)."""
        return self._model.features(**batch).float()

    def _one_by_one(self, rows: Sequence[Encoded]) -> list[Tensor]:
        if self._network is None:
            examples = [self._preprocessor.collate([row]) for row in (rows[0], rows[-1])]
            self._network = compiled(
                self._run, self._model, examples, what="runtime openvino", precision=self._precision
            )
        return self._network(self._preprocessor.collate([row]) for row in rows)
