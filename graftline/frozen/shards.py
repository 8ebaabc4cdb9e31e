"""The frozen part over shards of rows: whole batches of it, which a worker computes for whoever has the store open."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graftline.compute.device import device_of, prepare
from graftline.compute.precision import Precision
from graftline.compute.spread import Spread
from graftline.compute.threads import use_threads
from graftline.frozen.freezing import FreezePoint
from graftline.frozen.rows import InputRows
from graftline.frozen.running import batches_of, own_lengths, padded_rows, run_batches
from graftline.models.encoded_rows import ChosenRows
from graftline.models.preprocessing import Preprocessor
from graftline.models.sharding import Shard, in_shards, shard_of


@dataclass(frozen=True)
class FrozenPart:
    """What all shards are run through."""

    model: nn.Module
    point: FreezePoint
    preprocessor: Preprocessor
    precision: Precision
    threads: int


@dataclass(frozen=True)
class Kept:
    """What is kept of the rows of a batch, end to end: as bytes, which need no copy between processes."""

    content: NDArray[np.uint8]
    dtype: torch.dtype
    shapes: list[tuple[int, ...]]

    @classmethod
    def of(cls, entries: Sequence[Tensor]) -> "Kept":
        together = torch.cat([entry.detach().reshape(-1) for entry in entries])
        return cls(together.view(torch.uint8).numpy(), entries[0].dtype, [tuple(entry.shape) for entry in entries])

    def entries(self) -> list[Tensor]:
        together = torch.from_numpy(self.content.copy()).view(self.dtype)
        parts = torch.split(together, [int(np.prod(shape)) for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]


def run_in_shards(
    model: nn.Module, point: FreezePoint, rows: InputRows, chosen: Sequence[int], precision: Precision, spread: Spread
) -> Iterator[tuple[Sequence[int], Sequence[Tensor]]]:
    """As `run_in_batches` of running.py: the same batches in the same order, computed by whom `spread` has for it."""
    padded = padded_rows(rows, chosen)
    batches = batches_of(padded)
    parts = in_shards(batches, rows.preprocessor.reading.kind)
    if len(parts) < 2:  # not worth the way
        yield from run_batches(model, point, padded, own_lengths(rows, chosen), batches, precision)
        return
    part = FrozenPart(model, point, rows.preprocessor, precision, torch.get_num_threads())
    wanted = ChosenRows(rows.encoded, chosen)
    answers = spread(run_shard, part, (shard_of(wanted, some, rows.preprocessor) for some in parts))
    for some, kept in zip(parts, answers, strict=True):
        for batch, of_batch in zip(some, kept, strict=True):
            yield batch, of_batch.entries()


def run_shard(part: FrozenPart, shard: Shard) -> list[Kept]:
    """What is kept of the rows of each batch."""
    use_threads(part.threads)
    prepare(device_of(part.model))
    # Nothing is learned here: the rows have no targets.
    rows = InputRows(part.preprocessor, shard.rows, torch.zeros(len(shard.rows)))
    everything = range(len(shard.rows))
    padded, own = padded_rows(rows, everything), own_lengths(rows, everything)
    ran = run_batches(part.model, part.point, padded, own, shard.batches, part.precision)
    return [Kept.of(entries) for _, entries in ran]
