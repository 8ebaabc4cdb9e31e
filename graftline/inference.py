"""Predicting with an adapted model: the same code in evaluation and inside of the registered model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from graftline.families import load_classifier, load_preprocessor
from graftline.preprocessing import Raw

Predictions = np.ndarray[tuple[int, int], np.dtype[np.float64]]


class Predictor:
    """An adapted model, loaded from its folder."""

    def __init__(self, folder: Path) -> None:
        self._model = load_classifier(folder)
        self._preprocessor = load_preprocessor(folder)
        self.kind = self._preprocessor.reading.kind
        self.outputs = self._model.outputs

    def predict(self, raws: Sequence[Raw]) -> Predictions:
        """Probability of each label for each input: (inputs, labels); of a regression the numbers: (inputs, 1)."""
        rows = self._preprocessor.encode(raws)
        result: Predictions = np.zeros((len(rows), self.outputs.width))
        for batch in self._preprocessor.batches([self._preprocessor.length(row) for row in rows]):
            with torch.inference_mode():
                outputs = self._model(**self._preprocessor.collate([rows[row] for row in batch]))
            result[batch] = self.outputs.answers(outputs).numpy()
        return result
