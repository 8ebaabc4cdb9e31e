"""Where the trainable part of a model begins, and the proof that what lies in front of it did not change."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from graftline.blocks import find_blocks
from graftline.digests import tensors_sha256
from graftline.errors import SettingsError

Strategy = Literal["feature_extraction", "partial", "fine_tuning"]
Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class FreezePoint:
    """The cut through a model: everything that runs before `first_trainable` is frozen."""

    first_trainable: str | None
    """The module where learning begins; None: nothing is frozen."""
    frozen_blocks: tuple[str, ...]
    frozen_modules: frozenset[str]
    """Modules whose every part runs before the cut: they stay in eval mode."""
    frozen_parameters: tuple[str, ...]
    trainable_parameters: tuple[str, ...]

    @property
    def description(self) -> str:
        """What was frozen, in words."""
        if self.first_trainable is None:
            return "nothing"
        blocks = f" with {len(self.frozen_blocks)} blocks" if self.frozen_blocks else ""
        return f"everything in front of {self.first_trainable}{blocks} ({len(self.frozen_parameters)} tensors)"


def freeze(model: nn.Module, strategy: Strategy, freeze_until: str | None, *, head: str, example: Batch) -> FreezePoint:
    """Freeze what runs before the freeze point; `example` is a small batch that shows the order of execution.

    Raises: SettingsError if `freeze_until` names no block: a typo must not freeze something else.
    """
    order, found = execution_order(model, example), set(find_blocks(model))
    blocks = tuple(name for name in order if name in found)
    first = _first_trainable(strategy, freeze_until, blocks, head)
    point = _cut(model, first, blocks, order)
    frozen = set(point.frozen_parameters)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return point


def execution_order(model: nn.Module, example: Batch) -> tuple[str, ...]:
    """Names of all modules in the order in which a forward pass first enters them."""
    order: dict[str, None] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda *_: order.setdefault(name)

    hooks = [module.register_forward_pre_hook(note(name)) for name, module in model.named_modules()]
    was_training = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(**example)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in was_training.items():
            module.training = mode
    return tuple(order)


def train_mode(model: nn.Module, point: FreezePoint) -> None:
    """Training mode behind the freeze point; in front of it no dropout and no moving BatchNorm statistics."""
    for name, module in model.named_modules():
        module.training = name not in point.frozen_modules


def frozen_sha256(model: nn.Module, point: FreezePoint) -> str:
    """The digest of every frozen parameter and of every buffer in a frozen module."""
    frozen = set(point.frozen_parameters)
    tensors: dict[str, Tensor] = {name: tensor for name, tensor in model.named_parameters() if name in frozen}
    tensors |= {
        f"buffer:{name}": tensor
        for name, tensor in model.named_buffers()
        if name.rpartition(".")[0] in point.frozen_modules
    }
    return tensors_sha256(tensors)


def _first_trainable(strategy: Strategy, freeze_until: str | None, blocks: tuple[str, ...], head: str) -> str | None:
    if strategy == "fine_tuning":
        return None
    if strategy == "feature_extraction":
        return head
    return _named_block(freeze_until or "", blocks)


def _named_block(freeze_until: str, blocks: tuple[str, ...]) -> str:
    if len(blocks) < 2:
        raise SettingsError(
            "adaptation.freeze_until: this model has no list of equal blocks to count the depth by; name its blocks"
            r" with adaptation.block_pattern, a regular expression over module names such as stages\.\d+, or use"
            " adaptation.strategy fine_tuning or feature_extraction"
        )
    matches = [block for block in blocks if block == freeze_until or block.endswith(f".{freeze_until}")]
    with suppress(ValueError, OverflowError):  # neither a number, nor a finite one
        number = float(freeze_until)
        depth = number if freeze_until.isdigit() else number * len(blocks)
        matches = [blocks[round(depth)]] if 0 < round(depth) < len(blocks) else []
    if len(matches) != 1:
        raise SettingsError(
            f"adaptation.freeze_until {freeze_until!r} names no single block of this model; expected a number from 1 to"
            f" {len(blocks) - 1}, a share of the depth such as 0.5, or one of {', '.join(blocks[1:])}"
        )
    return matches[0]


def _cut(model: nn.Module, first: str | None, blocks: tuple[str, ...], order: tuple[str, ...]) -> FreezePoint:
    names = [name for name, _ in model.named_parameters()]
    if first is None:
        return FreezePoint(None, (), frozenset(), (), tuple(names))
    position = {name: place for place, name in enumerate(order)}
    cut = position[first]

    def runs_before(module: str) -> bool:
        # A module that is never entered (only its weights are read) runs with the module that holds it.
        while module not in position:
            module = module.rpartition(".")[0]
        return position[module] < cut

    frozen = tuple(name for name in names if runs_before(name.rpartition(".")[0]))
    modules = frozenset(
        name
        for name, module in model.named_modules()
        if all(runs_before(f"{name}.{child}".strip(".")) for child, _ in module.named_modules())
    )
    trainable = tuple(name for name in names if name not in set(frozen))
    return FreezePoint(first, tuple(block for block in blocks if block in modules), modules, frozen, trainable)
