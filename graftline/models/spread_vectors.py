"""What the head reads of many inputs, over shards of them that others compute."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graftline.compute.device import CPU
from graftline.compute.precision import Precision, autocast
from graftline.compute.spread import Spread
from graftline.compute.threads import use_threads
from graftline.models.classifier import Classifier
from graftline.models.preprocessing import Encoded, Preprocessor
from graftline.models.sharding import Shard, in_shards, shard_of


@dataclass(frozen=True)
class Asked:
    """The model that all shards are for."""

    model: Classifier
    preprocessor: Preprocessor
    precision: Precision
    threads: int


def vectors_of(asked: Asked, rows: Sequence[Encoded], batches: Sequence[list[int]]) -> Iterator[Tensor]:
    """What the head reads of each batch, in order: (batch, width)."""
    for batch in batches:
        with autocast(asked.precision, asked.model.device):
            vectors = asked.model.features(**asked.preprocessor.collate([rows[row] for row in batch]))
        yield vectors.float()


def spread_vectors(
    asked: Asked, rows: Sequence[Encoded], batches: Sequence[list[int]], spread: Spread
) -> Iterator[Tensor]:
    """The same batches in the same order, with the same bits, computed by whom `spread` has for it."""
    parts = in_shards(batches, asked.preprocessor.reading.kind)
    if len(parts) < 2:  # not worth the way
        yield from vectors_of(asked, rows, batches)
        return
    for vectors in spread(run_shard, asked, (shard_of(rows, part, asked.preprocessor) for part in parts)):
        yield from map(torch.from_numpy, vectors)


def run_shard(asked: Asked, shard: Shard) -> list[NDArray[np.float32]]:
    """What the head reads of each batch."""
    use_threads(asked.threads)
    with torch.inference_mode():
        return [vectors.to(CPU).numpy() for vectors in vectors_of(asked, shard.rows, shard.batches)]
