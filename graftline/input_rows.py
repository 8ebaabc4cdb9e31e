"""Encoded texts as rows to train on, either through the whole model or from the kept output of its frozen part."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from graftline.batching import equal_length_batches
from graftline.digests import lines_sha256
from graftline.feature_store import FeatureStore
from graftline.freezing import FreezePoint
from graftline.replay import capture, require_equal_replay
from graftline.text import Encoded, Tokenizer, collate

# Tokens that are run through the frozen part at a time: enough to fill the processor, little enough for its caches.
CAPTURE_TOKENS = 512
# Rows on which it is proven, before anything is kept, that the model can be replayed.
PROOF_ROWS = 2


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
    # The size of the batches is part of it, because the last bits of an entry depend on it.
    return [lines_sha256([str(CAPTURE_TOKENS), json.dumps(row, sort_keys=True)])[:32] for row in rows.encoded]


def fill(store: FeatureStore, model: nn.Module, point: FreezePoint, rows: TextRows, keys: Sequence[str]) -> int:
    """Run the frozen part for the rows that the store lacks. Returns: how many rows that were.

    A row's entry has the same bits whichever rows it is computed with, today or in another run: it runs among rows of
    its own length, so without padding, and in a batch whose size follows from that length alone.
    Raises: SettingsError if the model cannot be replayed.
    """
    place = {key: row for row, key in enumerate(keys)}
    missing = [place[key] for key in store.missing(keys)]
    if missing:
        require_equal_replay(model, point, collate(rows.tokenizer, [rows.encoded[row] for row in missing[:PROOF_ROWS]]))
    for batch in equal_length_batches([rows.lengths[row] for row in missing], CAPTURE_TOKENS):
        chosen = [missing[member] for member in batch]
        inputs = collate(rows.tokenizer, [rows.encoded[row] for row in chosen])
        # A last, smaller batch was filled up with rows that are in it already.
        store.add({keys[row]: entry for row, entry in zip(chosen, capture(model, point, inputs), strict=True)})
    return len(missing)
