"""How strongly the loss pulls at each block of a model, beside how large its weights are: from where on to tune."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graftline.compute.device import device_of, moved
from graftline.compute.precision import Precision, autocast
from graftline.frozen.rows import InputRows
from graftline.models.batching import shuffled_batches
from graftline.training.objective import Objective

# As many as Lee et al. look at.
BATCHES = 5
# Of the largest relative norm. Auto-RGN trains the block that has it at the full rate, and others in proportion: in
# front of the first that would have half of that rate, little would change.
ENOUGH = 0.5


@dataclass(frozen=True)
class BlockGradient:
    """The norm of a block's gradient divided by the norm of its weights: the mean over batches, and their extremes."""

    block: str
    value: float
    low: float
    high: float


def block_gradients(
    model: nn.Module,
    rows: InputRows,
    objective: Objective,
    blocks: Sequence[str],
    *,
    batch_size: int,
    seed: int,
    precision: Precision = "float32",
) -> tuple[BlockGradient, ...]:
    """The relative gradient norm of each block, on the first batches of these rows that a training would show.

    RGN of Lee et al. 2023 (surgical fine-tuning, arXiv 2210.11466), for all weights of a block together. The model
    computes as it answers, without dropout and with the statistics that it has, and is left as it was. Weights that are
    in no block, as those of embeddings and head, are not looked at; without blocks there is nothing to tell.
    """
    if not blocks:
        return ()
    weights = {block: _weights_of(model, block) for block in blocks}
    sizes = {block: _norm(of_block) for block, of_block in weights.items()}
    batches = shuffled_batches(rows.lengths, batch_size, seed=seed, epoch=0)[:BATCHES]
    found: dict[str, list[float]] = {block: [] for block in blocks}
    with _learning(model, [weight for of_block in weights.values() for weight in of_block]):
        for batch in batches:
            loss = _loss(model, rows, objective, batch, precision)
            for block, pull in _pulls(loss, weights).items():
                found[block].append(pull / sizes[block] if sizes[block] else math.inf)
    return tuple(
        BlockGradient(block, math.fsum(each) / len(each), min(each), max(each)) for block, each in found.items()
    )


def first_to_tune(gradients: Sequence[BlockGradient]) -> int | None:
    """The place of the first block whose relative norm is at least `ENOUGH` of the largest, from 0.

    Returns: None where gradients say nothing: all are 0, or one is no finite number.
    """
    largest = max((one.value for one in gradients), default=0.0)
    if largest <= 0 or not all(math.isfinite(one.value) for one in gradients):
        return None
    return next(place for place, one in enumerate(gradients) if one.value >= ENOUGH * largest)


def _weights_of(model: nn.Module, block: str) -> list[Tensor]:
    return [weight for weight in model.get_submodule(block).parameters() if weight.is_floating_point()]


@contextmanager
def _learning(model: nn.Module, weights: Sequence[Tensor]) -> Iterator[None]:
    """Inside, gradients reach these weights and no others, and the model is in eval mode."""
    learned = {weight: weight.requires_grad for weight in model.parameters()}
    modes = {module: module.training for module in model.modules()}
    model.eval().requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight, learns in learned.items():
            weight.requires_grad_(learns)
        for module, mode in modes.items():
            module.training = mode


def _loss(
    model: nn.Module, rows: InputRows, objective: Objective, batch: Sequence[int], precision: Precision
) -> Tensor:
    device = device_of(model)
    with autocast(precision, device):
        outputs = rows.logits(model, batch)
    weights = None if rows.weights is None else moved(rows.weights[list(batch)], device)
    return objective.loss(outputs.float(), moved(rows.targets[list(batch)], device), weights)


def _pulls(loss: Tensor, weights: dict[str, list[Tensor]]) -> dict[str, float]:
    """The norm of each block's gradient; a weight that the loss does not depend on adds nothing."""
    flat = [weight for of_block in weights.values() for weight in of_block]
    gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True))
    each = {block: [next(gradients) for _ in of_block] for block, of_block in weights.items()}
    return {block: _norm([one for one in of_block if one is not None]) for block, of_block in each.items()}


def _norm(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(math.fsum(float(tensor.detach().double().square().sum()) for tensor in tensors))
