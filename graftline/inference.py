"""Predicting with an adapted model: the same code in evaluation and inside of the registered model."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from graftline.families import load_classifier, load_preprocessor
from graftline.openvino_runtime import Network, compiled
from graftline.precision import Precision, autocast
from graftline.preprocessing import Encoded, Raw
from graftline.replay import Batch
from graftline.settings import Runtime

# So probabilities, of which the largest may be small, are compared as they are.
LEAST_SCALE = 1.0

Predictions = np.ndarray[tuple[int, int], np.dtype[np.float64]]


class Predictor:
    """An adapted model, loaded from its folder.

    It is evaluated in float32 by PyTorch; another precision or runtime is faster and answers a little differently.
    """

    def __init__(self, folder: Path, *, precision: Precision = "float32", runtime: Runtime = "torch") -> None:
        """Raises: ValueError for a precision or runtime that there is not: MLflow hands on whatever it is given."""
        for what, value, known in (
            ("precision", precision, get_args(Precision)),
            ("runtime", runtime, get_args(Runtime)),
        ):
            if value not in known:
                raise ValueError(f"{what} {value!r}: there is none of that name, expected {' or '.join(known)}")
        self._model = load_classifier(folder)
        self._preprocessor = load_preprocessor(folder)
        self._precision, self._runtime = precision, runtime
        self._network: Network | None = None
        self.kind = self._preprocessor.reading.kind
        self.outputs = self._model.outputs

    def predict(self, raws: Sequence[Raw]) -> Predictions:
        """Probability of each label for each input: (inputs, labels); of a regression the numbers: (inputs, 1)."""
        rows = self._preprocessor.encode(raws)
        result: Predictions = np.zeros((len(rows), self.outputs.width))
        batches = self._preprocessor.batches([self._preprocessor.length(row) for row in rows])
        if self._runtime == "openvino" and rows:
            in_order = [row for batch in batches for row in batch]
            result[in_order] = torch.cat(self._by_openvino([rows[row] for row in in_order])).numpy()
            return result
        for batch in batches:
            with torch.inference_mode(), autocast(self._precision):
                answers = self._by_torch(self._preprocessor.collate([rows[row] for row in batch]))
            result[batch] = answers.numpy()
        return result

    def _by_torch(self, batch: Batch) -> Tensor:
        return self.outputs.answers(self._model(**batch).float())

    def _by_openvino(self, rows: Sequence[Encoded]) -> list[Tensor]:
        if self._network is None:
            examples = [self._preprocessor.collate([row]) for row in (rows[0], rows[-1])]
            self._network = compiled(
                self._by_torch, self._model, examples,
                what="runtime openvino", precision=self._precision, least_scale=LEAST_SCALE,
            )  # fmt: skip
        return self._network(self._preprocessor.collate([row]) for row in rows)
