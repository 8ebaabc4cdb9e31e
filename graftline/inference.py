"""Predicting with an adapted model: the same code in evaluation and inside of the registered model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from graftline.batching import sorted_batches
from graftline.text import collate, encode, load_classifier, load_tokenizer

# Enough rows to fill a processor, few enough for its caches.
BATCH_ROWS = 64

Probabilities = np.ndarray[tuple[int, int], np.dtype[np.float64]]


class Predictor:
    """An adapted text model, loaded from its folder."""

    def __init__(self, folder: Path) -> None:
        self._model = load_classifier(folder)
        self._tokenizer = load_tokenizer(folder)
        self.labels = self._model.labels

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Probability of each label for each text: (texts, labels), rows add up to 1."""
        encoded = encode(self._tokenizer, texts, max_tokens=self._model.max_tokens)
        result: Probabilities = np.zeros((len(texts), len(self.labels)))
        for batch in sorted_batches([len(row["input_ids"]) for row in encoded], BATCH_ROWS):
            with torch.inference_mode():
                logits = self._model(**collate(self._tokenizer, [encoded[row] for row in batch]))
            result[batch] = torch.softmax(logits.double(), dim=1).numpy()
        return result
