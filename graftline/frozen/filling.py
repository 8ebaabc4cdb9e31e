"""Running the frozen part once per row, into a store; what gives other bits raises the version in `keys.py`."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from graftline.compute.precision import Precision
from graftline.compute.spread import Spread
from graftline.frozen.freezing import FreezePoint
from graftline.frozen.keys import RowKeys
from graftline.frozen.rows import InputRows
from graftline.frozen.running import own_lengths, run_in_batches
from graftline.frozen.shards import run_in_shards
from graftline.frozen.store import FeatureStore
from graftline.settings.adaptation import Runtime


def fill(
    store: FeatureStore,
    model: nn.Module,
    point: FreezePoint,
    rows: InputRows,
    keys: Sequence[str],
    *,
    precision: Precision = "float32",
    runtime: Runtime = "torch",
    passed: Callable[[int, int], None] = lambda _, __: None,
    spread: Spread | None = None,
) -> int:
    """Run the frozen part for the rows that the store lacks. Returns: how many rows that were.

    A row's entry has the same bits whichever rows it is computed with, today or in another run: it runs padded as its
    own length demands, among rows of that padded length, in a batch whose size follows from it alone; with OpenVINO
    it runs alone. `passed` is told how many rows of how many are done. With `spread` others compute shards of the rows,
    and the store has the same bytes: this process alone writes it, in the order in which it would have computed.
    Raises: FeatureStoreFullError, before all is computed, if there is no room for all; SettingsError if the runtime
    cannot run the model.
    """
    named = RowKeys.of(keys)
    missing = cast("Sequence[int]", named.each_once(store.absent(named)))
    lengths = own_lengths(rows, missing)
    done = Done(len(missing))
    for number, (batch, entries) in enumerate(_computed(model, point, rows, missing, precision, runtime, spread)):
        if number == 0:
            shape, length = tuple(entries[0].shape), lengths[batch[0]]
            store.reserve(store.needed_bytes(_scaled(shape, int(other) / int(length)) for other in lengths))
        # A last, smaller batch was filled up with rows that are in it already.
        store.add({named[missing[member]]: entry for member, entry in zip(batch, entries, strict=True)})
        passed(done.add(batch), len(missing))
    return len(missing)


def run_through(
    model: nn.Module,
    point: FreezePoint,
    rows: InputRows,
    precision: Precision,
    runtime: Runtime = "torch",
    passed: Callable[[int, int], None] = lambda _, __: None,
    spread: Spread | None = None,
) -> Tensor:
    """The vectors, one per row, that enter the first trainable module: (rows, width), bits as `fill` keeps."""
    vectors, done = torch.empty(0), Done(len(rows.encoded))
    for batch, entries in _computed(model, point, rows, range(len(rows.encoded)), precision, runtime, spread):
        if not vectors.numel():
            vectors = torch.empty(len(rows.encoded), entries[0].shape[0])
        vectors[batch] = torch.stack(list(entries)).float()
        passed(done.add(batch), len(rows.encoded))
    return vectors


class Done:
    """How many of so many rows are done. A batch may be filled up with rows that were done in another one."""

    def __init__(self, rows: int) -> None:
        self._rows, self._count = np.zeros(rows, np.bool_), 0

    def add(self, batch: Sequence[int]) -> int:
        """How many are, with these."""
        new = np.unique(np.asarray(batch, np.int64))
        self._count += int((~self._rows[new]).sum())
        self._rows[new] = True
        return self._count


def _computed(
    model: nn.Module,
    point: FreezePoint,
    rows: InputRows,
    chosen: Sequence[int],
    precision: Precision,
    runtime: Runtime,
    spread: Spread | None,
) -> Iterator[tuple[Sequence[int], Sequence[Tensor]]]:
    if spread is None or runtime == "openvino":  # which compiles for the longest and the shortest of all rows
        return run_in_batches(model, point, rows, chosen, precision, runtime)
    return run_in_shards(model, point, rows, chosen, precision, spread)


def _scaled(shape: tuple[int, ...], factor: float) -> tuple[int, ...]:
    """The shape of an entry of a row that is so many times as long: tokens and frames grow with it, vectors do not."""
    return shape if len(shape) == 1 else (math.ceil(shape[0] * factor), *shape[1:])
