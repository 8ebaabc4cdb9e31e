"""Encoded inputs as rows to train on, either through the whole model or from the kept output of its frozen part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from graftline.compute.device import FEATURE_MAP_AXES, device_of, moved
from graftline.frozen.store import FeatureStore
from graftline.frozen.vectors import Vectors
from graftline.models.batching import equal_length_batches
from graftline.models.classifier import Classifier
from graftline.models.encoded_rows import JoinedRows, lengths_of
from graftline.models.preprocessing import Encoded, Preprocessor
from graftline.models.views import View


@dataclass(frozen=True)
class InputRows:
    """Rows that go through the whole model."""

    preprocessor: Preprocessor
    encoded: Sequence[Encoded]
    targets: Tensor
    views: tuple[View, ...] = ()
    """The random views in which epochs see the rows; none: as they are."""
    weights: Tensor | None = None
    """How much each row counts in the loss: (rows,), or (rows, labels); None: all alike."""

    @property
    def lengths(self) -> Sequence[int]:
        return lengths_of(self.encoded, self.preprocessor)

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The tensors that the model reads of these rows, in float32 also where the model computes in bfloat16."""
        with torch.autocast("cpu", enabled=False):
            return self.preprocessor.collate([self.encoded[row] for row in rows])

    def blank(self, rows: Sequence[int]) -> dict[str, Tensor] | None:
        """Tensors of their shapes, if it is worth avoiding to read the rows."""
        return self.preprocessor.blank([self.encoded[row] for row in rows])

    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        return in_parts(self, rows, lambda part: model(**self.batch(part)))

    def in_epoch(self, epoch: int) -> "InputRows":
        """The rows as this epoch sees them, from 0: in their first view, in the next one, then from the first again."""
        return self._in_view(self.views[epoch % len(self.views)]) if self.views else self

    def in_all_views(self) -> "InputRows":
        """All rows in their first view, then all in the next; as they are if they have no views."""
        return joined([self._in_view(view) for view in self.views]) if self.views else self

    def _in_view(self, view: View) -> "InputRows":
        encoded = [self.preprocessor.in_view(row, view) for row in self.encoded]
        return InputRows(self.preprocessor, encoded, self.targets, weights=self.weights)


@dataclass(frozen=True)
class ReplayedRows:
    """Rows whose frozen part has run already; use inside of `replaying`, whose function is `give`."""

    rows: InputRows
    store: FeatureStore
    keys: Sequence[str]
    """In the store; those of `rows.in_all_views()`, if the rows have views."""
    give: Callable[[Tensor], None]

    @property
    def lengths(self) -> Sequence[int]:
        return self.rows.lengths

    @property
    def targets(self) -> Tensor:
        return self.rows.targets

    @property
    def weights(self) -> Tensor | None:
        return self.rows.weights

    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        return in_parts(self.rows, rows, lambda part: self._replayed(model, part))

    def _replayed(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        kept = moved(self.store.batch([self.keys[row] for row in rows]).float(), device_of(model))
        # Feature maps lie in the store as they are named; the frozen part would have left them in this order.
        self.give(kept.contiguous(memory_format=torch.channels_last) if kept.ndim == FEATURE_MAP_AXES else kept)
        output: Tensor = model(**(self.rows.blank(rows) or self.rows.batch(rows)))
        return output

    def in_epoch(self, epoch: int) -> "ReplayedRows":
        """The rows as this epoch sees them, with the keys of its view."""
        count, views = len(self.rows.encoded), max(1, len(self.rows.views))
        first = epoch % views * count
        return replace(self, rows=self.rows.in_epoch(epoch), keys=self.keys[first : first + count])


@dataclass(frozen=True)
class FeatureRows:
    """Rows that are nothing but the vector in front of the head; the backbone does not run."""

    vectors: Vectors
    """(rows, width); of rows with views all in the first view, then all in the next."""
    targets: Tensor
    views: int = 1
    weights: Tensor | None = None
    """Of each row in each view."""

    @property
    def features(self) -> Tensor:
        """All vectors, in memory."""
        return self.vectors if isinstance(self.vectors, Tensor) else self.vectors.together()

    @property
    def lengths(self) -> Sequence[int]:
        return [1] * len(self.vectors)

    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        vectors = cast("Tensor", self.vectors[list(rows)])
        logits: Tensor = cast("Classifier", model).head(moved(vectors, device_of(model)))
        return logits

    def in_epoch(self, epoch: int) -> "FeatureRows":
        """The rows in the view of this epoch."""
        count = len(self.vectors) // self.views
        part = slice(epoch % self.views * count, (epoch % self.views + 1) * count)
        return FeatureRows(
            self.vectors[part], self.targets[part], weights=None if self.weights is None else self.weights[part]
        )


def in_parts(rows: InputRows, chosen: Sequence[int], output_of: Callable[[list[int]], Tensor]) -> Tensor:
    """The output for the chosen rows, in order: of all at once, or, if the model hears padding, length by length."""
    if rows.preprocessor.mixes_lengths:
        return output_of(list(chosen))
    lengths = [rows.preprocessor.length(rows.encoded[row]) for row in chosen]
    parts = equal_length_batches(lengths, sum(lengths), filled=False)
    outputs = torch.cat([output_of([chosen[place] for place in part]) for part in parts])
    return outputs[torch.tensor([place for part in parts for place in part]).argsort().to(outputs.device)]


def joined(parts: Sequence[InputRows]) -> InputRows:
    """The rows of all parts, which have one preprocessor, in order; with weights if all parts have them."""
    weights = [part.weights for part in parts if part.weights is not None]
    together = torch.cat(weights) if len(weights) == len(parts) else None
    targets = torch.cat([part.targets for part in parts])
    return InputRows(parts[0].preprocessor, JoinedRows([part.encoded for part in parts]), targets, weights=together)
