"""Running the frozen part once per row, into a store; what gives other bits raises the version in `keys.py`."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from graftline.compute.device import device_of
from graftline.compute.folding import folded
from graftline.compute.openvino_runtime import compiled
from graftline.compute.precision import Precision, autocast, narrowed
from graftline.frozen.freezing import FreezePoint
from graftline.frozen.replay import capture
from graftline.frozen.rows import InputRows
from graftline.frozen.store import FeatureStore
from graftline.models.batching import equal_length_batches
from graftline.settings.adaptation import Runtime

# Rows that OpenVINO computes before they are written to the store.
ROWS_AT_ONCE = 64


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
) -> int:
    """Run the frozen part for the rows that the store lacks. Returns: how many rows that were.

    A row's entry has the same bits whichever rows it is computed with, today or in another run: it runs padded as its
    own length demands, among rows of that padded length, in a batch whose size follows from it alone; with OpenVINO
    it runs alone. `passed` is told how many rows of how many are done.
    Raises: FeatureStoreFullError, before all is computed, if there is no room for all; SettingsError if the runtime
    cannot run the model.
    """
    place = {key: row for row, key in enumerate(keys)}
    missing = [place[key] for key in store.missing(keys)]
    all_lengths = rows.lengths
    lengths = [all_lengths[row] for row in missing]
    done = set[int]()  # a batch may be filled up with rows of another one
    for number, (batch, entries) in enumerate(run_in_batches(model, point, rows, missing, precision, runtime)):
        if number == 0:
            shape, length = tuple(entries[0].shape), lengths[batch[0]]
            store.reserve(store.needed_bytes(_scaled(shape, other / length) for other in lengths))
        # A last, smaller batch was filled up with rows that are in it already.
        store.add({keys[missing[member]]: entry for member, entry in zip(batch, entries, strict=True)})
        done.update(batch)
        passed(len(done), len(missing))
    return len(missing)


def run_through(
    model: nn.Module,
    point: FreezePoint,
    rows: InputRows,
    precision: Precision,
    runtime: Runtime = "torch",
    passed: Callable[[int, int], None] = lambda _, __: None,
) -> Tensor:
    """The vectors, one per row, that enter the first trainable module: (rows, width), bits as `fill` keeps."""
    vectors, done = torch.empty(0), set[int]()
    for batch, entries in run_in_batches(model, point, rows, range(len(rows.encoded)), precision, runtime):
        if not vectors.numel():
            vectors = torch.empty(len(rows.encoded), entries[0].shape[0])
        vectors[batch] = torch.stack(list(entries)).float()
        done.update(batch)
        passed(len(done), len(rows.encoded))
    return vectors


def run_in_batches(
    model: nn.Module, point: FreezePoint, rows: InputRows, chosen: Sequence[int], precision: Precision, runtime: Runtime
) -> Iterator[tuple[Sequence[int], Sequence[Tensor]]]:
    """Run the frozen part for the chosen rows. Yields: places among these, and of each what is to be kept of it."""
    if not chosen:
        return
    if runtime == "openvino":
        yield from _run_alone(model, point, rows, chosen, precision)
        return
    padded = InputRows(rows.preprocessor, [rows.preprocessor.padded(rows.encoded[row]) for row in chosen], rows.targets)
    own, lengths = [rows.preprocessor.length(rows.encoded[row]) for row in chosen], padded.lengths
    frozen = point.frozen_modules
    with (
        folded(model, frozen, precision, lambda: capture(model, point, padded.batch([0]))),
        autocast(precision, device_of(model)),
        narrowed(model, frozen, precision),
    ):
        for batch in equal_length_batches(lengths, rows.preprocessor.batch_length):
            captured = capture(model, point, padded.batch(batch)).cpu()
            # What stands where a row was padded says nothing; one vector per row has no such places.
            is_ragged = captured.ndim > 2 and captured.shape[1] == lengths[batch[0]]
            yield (
                batch,
                [entry[: own[member]] if is_ragged else entry for member, entry in zip(batch, captured, strict=True)],
            )


def _run_alone(
    model: nn.Module, point: FreezePoint, rows: InputRows, chosen: Sequence[int], precision: Precision
) -> Iterator[tuple[Sequence[int], Sequence[Tensor]]]:
    """The same with OpenVINO, which needs no batches to fill the processor."""
    all_lengths = rows.lengths
    # Longest first, so that too large a row fails at once; neighbours of one shape also spare OpenVINO some work.
    order = sorted(range(len(chosen)), key=lambda place: -all_lengths[chosen[place]])
    network = compiled(
        lambda batch: capture(model, point, batch),
        model,
        [rows.batch([chosen[place]]) for place in (order[0], order[-1])],
        what="adaptation.runtime openvino",
        precision=precision,
    )
    for start in range(0, len(order), ROWS_AT_ONCE):
        places = order[start : start + ROWS_AT_ONCE]
        yield places, [answer[0] for answer in network(rows.batch([chosen[place]]) for place in places)]


def _scaled(shape: tuple[int, ...], factor: float) -> tuple[int, ...]:
    """The shape of an entry of a row that is so many times as long: tokens and frames grow with it, vectors do not."""
    return shape if len(shape) == 1 else (math.ceil(shape[0] * factor), *shape[1:])
