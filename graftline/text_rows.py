"""Encoded texts as rows to train on, either through the whole model or from the kept output of its frozen part."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graftline.batching import sorted_batches
from graftline.digests import lines_sha256
from graftline.feature_store import FeatureStore
from graftline.freezing import FreezePoint
from graftline.replay import capture
from graftline.text import Encoded, Tokenizer, collate

# Rows that are run through the frozen part at a time: enough to fill the processor, little enough for its caches.
CAPTURE_ROWS = 64


@dataclass(frozen=True)
class TextRows:
    """Rows that go through the whole model."""

    tokenizer: Tokenizer
    encoded: Sequence[Encoded]
    targets: Tensor

    @property
    def lengths(self) -> Sequence[int]:
        return [len(row["input_ids"]) for row in self.encoded]

    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        output: Tensor = model(**collate(self.tokenizer, [self.encoded[row] for row in rows]))
        return output


@dataclass(frozen=True)
class ReplayedRows:
    """Rows whose frozen part has run already; use inside of `replaying`, whose function is `give`."""

    rows: TextRows
    store: FeatureStore
    keys: Sequence[str]
    give: Callable[[Tensor], None]

    @property
    def lengths(self) -> Sequence[int]:
        return self.rows.lengths

    @property
    def targets(self) -> Tensor:
        return self.rows.targets

    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        self.give(self.store.batch([self.keys[row] for row in rows]))
        return self.rows.logits(model, rows)


def row_keys(rows: TextRows) -> list[str]:
    """A name for what the model reads of each row: equal inputs share one entry in the store."""
    return [lines_sha256([json.dumps(row, sort_keys=True)])[:32] for row in rows.encoded]


def fill(store: FeatureStore, model: nn.Module, point: FreezePoint, rows: TextRows, keys: Sequence[str]) -> int:
    """Run the frozen part for the rows that the store lacks. Returns: how many rows that were."""
    place = {key: row for row, key in enumerate(keys)}
    missing = [place[key] for key in store.missing(keys)]
    lengths = [rows.lengths[row] for row in missing]
    for batch in sorted_batches(lengths, CAPTURE_ROWS):
        chosen = [missing[member] for member in batch]
        inputs = collate(rows.tokenizer, [rows.encoded[row] for row in chosen])
        hidden = capture(model, point, inputs)
        store.add({keys[row]: _own_part(hidden[k], inputs["attention_mask"][k]) for k, row in enumerate(chosen)})
    return len(missing)


def _own_part(hidden: Tensor, mask: Tensor) -> Tensor:
    """A row's entry without its padding: (tokens, width), or (width,) where the model has pooled already."""
    return hidden if hidden.ndim == 1 else hidden[torch.nonzero(mask).squeeze(1)]
