"""Where the trainable part of a model begins, and the proof that what lies in front of it did not change."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from graftline.adaptation_settings import Strategy
from graftline.blocks import find_blocks
from graftline.digests import tensors_sha256
from graftline.errors import SettingsError

Batch = Mapping[str, Tensor]
# What the norm layers of torch, timm and transformers end in: LayerNorm, BatchNorm2d, GroupNorm, T5LayerNorm, RMSNorm.
NORMS = ("LayerNorm", "LayerNorm2d", "BatchNorm1d", "BatchNorm2d", "BatchNormAct2d", "GroupNorm", "RMSNorm")
BatchNorm = nn.modules.batchnorm._BatchNorm
# In the name of every parameter that peft adds.
LORA = "lora_"


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
    depths: Mapping[str, int] = field(default_factory=dict)
    """How many blocks have begun where a trainable parameter is used: 0 for the embeddings, 1 for the first block."""
    still_statistics: bool = False
    """Whether every BatchNorm keeps its statistics, also where its factors learn."""

    @property
    def description(self) -> str:
        """What was frozen, in words."""
        if not self.frozen_parameters:
            return "nothing"
        if self.first_trainable is None:
            return f"all but {len(self.trainable_parameters)} tensors ({len(self.frozen_parameters)} tensors)"
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
    point = _only(point, _learning(model, strategy, head))
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
    """Training mode behind the freeze point; in front of it no dropout and no moving BatchNorm statistics.

    The statistics of a BatchNorm stay as well where any of its parameters is frozen, or all of them do.
    """
    frozen = {name.rpartition(".")[0] for name in point.frozen_parameters}
    for name, module in model.named_modules():
        is_still = isinstance(module, BatchNorm) and (point.still_statistics or name in frozen)
        module.training = name not in point.frozen_modules and not is_still


def frozen_sha256(model: nn.Module, point: FreezePoint) -> str:
    """The digest of every frozen parameter, every buffer beside one or in a frozen module, and still statistics."""
    frozen, still = set(point.frozen_parameters), _still_modules(model, point)
    tensors: dict[str, Tensor] = {name: tensor for name, tensor in model.named_parameters() if name in frozen}
    tensors |= {f"buffer:{name}": tensor for name, tensor in model.named_buffers() if name.rpartition(".")[0] in still}
    return tensors_sha256(tensors)


def has_lora(model: nn.Module) -> bool:
    """Whether adapters stand beside the model's weights."""
    return any(LORA in name for name, _ in model.named_parameters())


def _first_trainable(strategy: Strategy, freeze_until: str | None, blocks: tuple[str, ...], head: str) -> str | None:
    if strategy == "feature_extraction":
        return head
    return _named_block(freeze_until, blocks) if freeze_until is not None else None


def _learning(model: nn.Module, strategy: Strategy, head: str) -> frozenset[str]:
    """The parameters that the strategy lets learn, if it is one that picks them by their kind; otherwise all."""
    parameters = {name for name, _ in model.named_parameters()}
    norms = {name for name, module in model.named_modules() if type(module).__name__.endswith(NORMS)}
    # Biases and norms need no peft: its LN tuning (`LNTuningConfig`) copies each norm to switch between copies.
    kinds: dict[Strategy, Callable[[str], bool]] = {
        "bias_only": lambda name: name.endswith("bias"),
        "norm_only": lambda name: name.rpartition(".")[0] in norms,
        "lora": lambda name: LORA in name,
    }
    if strategy not in kinds:
        return frozenset(parameters)
    learning = {name for name in parameters if kinds[strategy](name)}
    if not any(not name.startswith(f"{head}.") for name in learning):
        raise SettingsError(
            f"adaptation.strategy {strategy}: the pre-trained part of this model has no parameter of that kind;"
            " use feature_extraction, partial or fine_tuning"
        )
    return frozenset(learning | {name for name in parameters if name.startswith(f"{head}.")})


def _only(point: FreezePoint, learning: frozenset[str]) -> FreezePoint:
    """The same cut with fewer trainable parameters behind it."""
    trainable = tuple(name for name in point.trainable_parameters if name in learning)
    frozen = tuple(name for name in point.trainable_parameters if name not in learning)
    depths = {name: point.depths[name] for name in trainable}
    return replace(
        point,
        frozen_parameters=(*point.frozen_parameters, *frozen),
        trainable_parameters=trainable,
        depths=depths,
    )


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
    position = {name: place for place, name in enumerate(order)}
    cut = position[first] if first is not None else -1

    def place(module: str) -> int:
        # A module that is never entered (only its weights are read) runs with the module that holds it.
        while module not in position:
            module = module.rpartition(".")[0]
        return position[module]

    frozen = tuple(name for name in names if place(name.rpartition(".")[0]) < cut)
    modules = frozenset(
        name
        for name, module in model.named_modules()
        if all(place(f"{name}.{child}".strip(".")) < cut for child, _ in module.named_modules())
    )
    trainable = tuple(name for name in names if name not in set(frozen))
    begins = [position[block] for block in blocks]
    depths = {name: sum(begin <= place(name.rpartition(".")[0]) for begin in begins) for name in trainable}
    return FreezePoint(
        first, tuple(block for block in blocks if block in modules), modules, frozen, trainable, depths
    )  # fmt: skip


def learned(model: nn.Module, point: FreezePoint) -> dict[str, Tensor]:
    """What training changes: the trainable parameters, and the BatchNorm statistics behind the freeze point."""
    still = _still_modules(model, point)
    return trainable(model) | {
        name: tensor for name, tensor in statistics(model).items() if name.rpartition(".")[0] not in still
    }


def statistics(model: nn.Module) -> dict[str, Tensor]:
    """What every BatchNorm keeps of the batches that it has seen, by name."""
    return {
        f"{name}.{buffer}": tensor
        for name, module in model.named_modules()
        if isinstance(module, BatchNorm)
        for buffer, tensor in module.named_buffers(recurse=False)
    }


def _still_modules(model: nn.Module, point: FreezePoint) -> set[str]:
    """The modules whose buffers training leaves alone."""
    still = {name.rpartition(".")[0] for name in point.frozen_parameters} | point.frozen_modules
    if point.still_statistics:
        still |= {name for name, module in model.named_modules() if isinstance(module, BatchNorm)}
    return still


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that learn, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
