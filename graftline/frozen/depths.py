"""What several depths of a model say of rows, from one pass through it: a vector per row behind each of some blocks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from graftline.compute.device import FEATURE_MAP_AXES, Batch
from graftline.compute.precision import Precision
from graftline.frozen.freezing import FreezePoint
from graftline.frozen.rows import InputRows
from graftline.frozen.running import run_in_batches
from graftline.frozen.store import FeatureStore
from graftline.models.parts import HEAD
from graftline.models.pooling import pool
from graftline.settings.adaptation import Runtime

# Where, as shares of the blocks, a model is looked at beside the vector that its head reads.
SHARES = (0.25, 0.5, 0.75)
# In a batch of texts: which tokens are none of the padding.
MASK = "attention_mask"


def looked_at(blocks: Sequence[str]) -> tuple[str, ...]:
    """The blocks behind which a model is looked at; the head's own vector stands for the last block."""
    places = {round(share * len(blocks)) for share in SHARES}
    return tuple(blocks[place - 1] for place in sorted(places) if 0 < place < len(blocks))


def place_of(point: FreezePoint, depth: str) -> FreezePoint:
    """A point that names the store of a depth: that of the head is the one that trainings of a head use, too."""
    return point if depth == HEAD else replace(point, first_trainable=f"mean behind {depth}")


def fill_depths(
    stores: Mapping[str, FeatureStore],
    model: nn.Module,
    point: FreezePoint,
    rows: InputRows,
    keys: Sequence[str],
    *,
    precision: Precision,
    runtime: Runtime,
) -> int:
    """Run the model once for the rows that any of the stores lacks, and keep its vectors of each depth.

    `stores` has one for each depth: a block's name, or `HEAD`. `point` is the one in front of the head.
    Returns: how many rows that were. Raises: as `fill` in filling.py.
    """
    place = {key: row for row, key in enumerate(keys)}
    absent = {depth: set(store.missing(keys)) for depth, store in stores.items()}
    missing = [row for key, row in place.items() if any(key in of_depth for of_depth in absent.values())]
    for number, (batch, vectors) in enumerate(
        _vectors(model, point, rows, list(stores), missing, precision=precision, runtime=runtime)
    ):
        for depth, entries in vectors.items():
            if number == 0:
                stores[depth].reserve(stores[depth].needed_bytes([tuple(entries[0].shape)] * len(absent[depth])))
            named = {keys[missing[member]]: entry for member, entry in zip(batch, entries, strict=True)}
            stores[depth].add({key: entry for key, entry in named.items() if key in absent[depth]})
            absent[depth].difference_update(named)
    return len(missing)


def run_through_depths(
    model: nn.Module,
    point: FreezePoint,
    rows: InputRows,
    depths: Sequence[str],
    *,
    precision: Precision,
    runtime: Runtime,
) -> dict[str, Tensor]:
    """The same without stores: for each depth (rows, width)."""
    found: dict[str, Tensor] = {}
    chosen = range(len(rows.encoded))
    for batch, vectors in _vectors(model, point, rows, depths, chosen, precision=precision, runtime=runtime):
        for depth, entries in vectors.items():
            if depth not in found:
                found[depth] = torch.empty(len(chosen), entries[0].shape[0])
            found[depth][batch] = torch.stack(list(entries)).float()
    return found


def _vectors(
    model: nn.Module,
    point: FreezePoint,
    rows: InputRows,
    depths: Sequence[str],
    chosen: Sequence[int],
    *,
    precision: Precision,
    runtime: Runtime,
) -> Iterator[tuple[Sequence[int], dict[str, Sequence[Tensor]]]]:
    with _seen_behind(model, [depth for depth in depths if depth != HEAD]) as seen:
        for batch, entries in run_in_batches(model, point, rows, chosen, precision, runtime):
            behind: dict[str, Sequence[Tensor]] = {name: list(vectors) for name, vectors in seen.items()}
            yield batch, {**behind, HEAD: entries}


@contextmanager
def _seen_behind(model: nn.Module, blocks: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Inside, the mean over places of what each block answered in the newest forward pass: (batch, width) each."""
    seen: dict[str, Tensor] = {}
    read: list[Batch] = []

    def note_batch(_module: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        read[:] = [kwargs]

    def note(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(_module: nn.Module, _args: tuple[Any, ...], answer: Any) -> None:
            seen[name] = _mean(answer[0] if isinstance(answer, tuple) else answer, read[0]).cpu()

        return hook

    with ExitStack() as hooked:
        hooked.callback(model.register_forward_pre_hook(note_batch, with_kwargs=True).remove)
        for name in blocks:
            hooked.callback(model.get_submodule(name).register_forward_hook(note(name)).remove)
        yield seen


def _mean(answer: Tensor, batch: Batch) -> Tensor:
    """(batch, width), over the tokens that are no padding, over frames, or over a picture's places."""
    answer = answer.float()
    if answer.ndim == FEATURE_MAP_AXES:
        _, first, second, third = answer.shape
        channels_last = first == second != third
        return answer.mean((1, 2) if channels_last else (2, 3))
    mask = batch.get(MASK)
    if mask is not None and mask.shape == answer.shape[:2]:
        return pool(answer, mask.to(answer.device), "mean")
    return answer.mean(1) if answer.ndim > 2 else answer
