"""Predicting with an adapted model: the same code in evaluation and inside of the registered model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from graftline.adaptation_settings import Runtime
from graftline.device import without_tf32
from graftline.families import load_classifier, load_preprocessor
from graftline.openvino_runtime import Network, compiled
from graftline.precision import Precision, autocast
from graftline.preprocessing import Encoded, Raw
from graftline.replay import Batch

Device = Literal["cpu", "cuda"]
Predictions = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True)
class Look:
    """What a model makes of some inputs before it answers."""

    vectors: Tensor
    """What its head reads: (inputs, width)."""
    outputs: Tensor
    """What its head gives, before the temperature: (inputs, outputs)."""


class Predictor:
    """An adapted model, loaded from its folder.

    It is evaluated in float32 by PyTorch on the processor; whatever else is faster answers a little differently.
    """

    def __init__(
        self, folder: Path, *, precision: Precision = "float32", runtime: Runtime = "torch", device: Device = "cpu"
    ) -> None:
        """Raises: ValueError for what there is not: MLflow hands on whatever it is given."""
        for what, value, known in (
            ("precision", precision, get_args(Precision)),
            ("runtime", runtime, get_args(Runtime)),
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
        self.kind = self._preprocessor.reading.kind
        self.outputs = self._model.outputs

    def predict(self, raws: Sequence[Raw]) -> Predictions:
        """Probability of each label for each input: (inputs, labels); of a regression the numbers: (inputs, 1)."""
        outputs = torch.zeros(len(raws), self.outputs.width)
        with torch.inference_mode():
            for batch, vectors in self._vectors(raws):
                outputs[batch] = self._model.head(vectors).cpu()
        return self.answers(outputs)

    def look(self, raws: Sequence[Raw]) -> Look:
        """What `predict` answers from."""
        vectors = torch.zeros(len(raws), self._model.output_layer.in_features)
        outputs = torch.zeros(len(raws), self.outputs.width)
        with torch.inference_mode():
            for batch, some in self._vectors(raws):
                vectors[batch], outputs[batch] = some.cpu(), self._model.head(some).cpu()
        return Look(vectors, outputs)

    def answers(self, outputs: Tensor) -> Predictions:
        """What `predict` says where the head gave these outputs (inputs, outputs)."""
        answered: Predictions = self.outputs.answers(outputs).numpy()
        return answered

    def _vectors(self, raws: Sequence[Raw]) -> Iterator[tuple[list[int], Tensor]]:
        """The places of some inputs, and what the head reads of them, until all had their turn."""
        rows = self._preprocessor.encode(raws)
        batches = self._preprocessor.batches([self._preprocessor.length(row) for row in rows])
        if self._runtime == "openvino" and rows:
            in_order = [row for batch in batches for row in batch]
            yield in_order, torch.cat(self._by_openvino([rows[row] for row in in_order]))
            return
        for batch in batches:
            with autocast(self._precision, self._model.device):
                vectors = self._features(self._preprocessor.collate([rows[row] for row in batch]))
            yield batch, vectors

    def _features(self, batch: Batch) -> Tensor:
        return self._model.features(**batch).float()

    def _by_openvino(self, rows: Sequence[Encoded]) -> list[Tensor]:
        if self._network is None:
            examples = [self._preprocessor.collate([row]) for row in (rows[0], rows[-1])]
            self._network = compiled(
                self._features, self._model, examples, what="runtime openvino", precision=self._precision
            )
        return self._network(self._preprocessor.collate([row]) for row in rows)
