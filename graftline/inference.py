"""Predicting with an adapted model: the same code in evaluation and inside of the registered model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graftline.families import load_classifier, load_preprocessor
from graftline.preprocessing import Raw

Predictions = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True)
class Look:
    """What a model makes of some inputs before it answers."""

    vectors: Tensor
    """What its head reads: (inputs, width)."""
    outputs: Tensor
    """What its head gives, before the temperature: (inputs, outputs)."""


class Predictor:
    """An adapted model, loaded from its folder."""

    def __init__(self, folder: Path) -> None:
        self._model = load_classifier(folder)
        self._preprocessor = load_preprocessor(folder)
        self.kind = self._preprocessor.reading.kind
        self.outputs = self._model.outputs

    def predict(self, raws: Sequence[Raw]) -> Predictions:
        """Probability of each label for each input: (inputs, labels); of a regression the numbers: (inputs, 1)."""
        outputs = torch.zeros(len(raws), self.outputs.width)
        with torch.inference_mode():
            for batch, vectors in self._vectors(raws):
                outputs[batch] = self._model.head(vectors)
        return self.answers(outputs)

    def look(self, raws: Sequence[Raw]) -> Look:
        """What `predict` answers from."""
        vectors = torch.zeros(len(raws), self._model.output_layer.in_features)
        outputs = torch.zeros(len(raws), self.outputs.width)
        with torch.inference_mode():
            for batch, some in self._vectors(raws):
                vectors[batch], outputs[batch] = some, self._model.head(some)
        return Look(vectors, outputs)

    def answers(self, outputs: Tensor) -> Predictions:
        """What `predict` says where the head gave these outputs (inputs, outputs)."""
        answered: Predictions = self.outputs.answers(outputs).numpy()
        return answered

    def _vectors(self, raws: Sequence[Raw]) -> Iterator[tuple[list[int], Tensor]]:
        """The places of some inputs, and what the head reads of them, until all had their turn."""
        rows = self._preprocessor.encode(raws)
        for batch in self._preprocessor.batches([self._preprocessor.length(row) for row in rows]):
            yield batch, self._model.features(**self._preprocessor.collate([rows[row] for row in batch]))
