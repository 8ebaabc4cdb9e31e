"""Where the trainable part of a model begins, for each strategy, and the proof that the frozen part did not change."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from graftline.compute.device import Batch
from graftline.digests import tensors_sha256
from graftline.errors import SettingsError
from graftline.models.blocks import find_blocks, no_blocks
from graftline.models.parts import HEAD, LORA
from graftline.settings.adaptation import Strategy

# The endings of norm layers of torch, timm and transformers: LayerNorm, BatchNorm2d, GroupNorm, T5LayerNorm, RMSNorm.
NORMS = ("LayerNorm", "LayerNorm2d", "BatchNorm1d", "BatchNorm2d", "BatchNormAct2d", "GroupNorm", "RMSNorm")
BatchNorm = nn.modules.batchnorm._BatchNorm
# Of parameters of the backbone.
Kind = Literal["all", "biases", "norms", "adapters"]


@dataclass(frozen=True)
class Freezing:
    """The share of a model that a strategy freezes, and the rest, which learns."""

    frozen: str
    """In words, for a reader of the documentation, as `learns`."""
    learns: str
    begins: Literal["head", "freeze_until"] = "freeze_until"
    """The module in front of which everything is frozen; nothing is if `freeze_until` names none."""
    kind: Kind = "all"
    """The parameters that learn from there on."""
    still_statistics: bool = False
    """Whether every BatchNorm keeps its statistics, also where its factors learn."""


FREEZES: Mapping[Strategy, Freezing] = {
    "feature_extraction": Freezing("the backbone", "the head", begins="head"),
    "partial": Freezing("what runs before the block `freeze_until`", "that block and what runs behind it"),
    "fine_tuning": Freezing("nothing", "everything"),
    # From a head that was solved for the statistics as they are: those of batches of rows unlike the pre-training's
    # would make it meaningless in the first step.
    "probe_then_fine_tune": Freezing("the statistics of BatchNorms", "everything else", still_statistics=True),
    # Its batches hold more rows of one label than any rows that are served.
    "contrastive": Freezing("the statistics of BatchNorms", "everything else", still_statistics=True),
    # As the last of its stages, of which each freezes what another strategy does.
    "gradual_unfreezing": Freezing(
        "all but the head, then fewer blocks in each stage, in the end nothing",
        "the head, then more blocks in each stage, in the end everything",
    ),
    "lora": Freezing("all weights of the backbone", "low-rank adapters beside them, and the head", kind="adapters"),
    "bias_only": Freezing("the backbone without its biases", "the biases, and the head", kind="biases"),
    "norm_only": Freezing("the backbone without its norm layers", "the norm layers, and the head", kind="norms"),
}


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
        """The frozen part, in words."""
        if not self.frozen_parameters:
            return "nothing"
        if self.first_trainable is None:
            return f"all but {len(self.trainable_parameters)} tensors ({len(self.frozen_parameters)} tensors)"
        blocks = f" with {len(self.frozen_blocks)} blocks" if self.frozen_blocks else ""
        return f"everything in front of {self.first_trainable}{blocks} ({len(self.frozen_parameters)} tensors)"


def freeze(model: nn.Module, strategy: Strategy, freeze_until: str | None, *, example: Batch) -> FreezePoint:
    """Freeze what `FREEZES` says; `example` is a small batch that shows the order of execution.

    Raises: SettingsError if `freeze_until` names no block: a typo must not freeze something else.
    """
    order, found = execution_order(model, example), set(find_blocks(model))
    blocks = tuple(name for name in order if name in found)
    first = _first_trainable(strategy, freeze_until, blocks)
    point = _only(_cut(model, first, blocks, order), _learning(model, strategy))
    point = replace(point, still_statistics=FREEZES[strategy].still_statistics)
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


def _first_trainable(strategy: Strategy, freeze_until: str | None, blocks: tuple[str, ...]) -> str | None:
    if FREEZES[strategy].begins == "head":
        return HEAD
    return named_block(freeze_until, blocks) if freeze_until is not None else None


def named_block(freeze_until: str, blocks: tuple[str, ...]) -> str:
    """Of these, in the order in which they run. Raises: SettingsError if `freeze_until` names none, or several."""
    if len(blocks) < 2:
        raise no_blocks("adaptation.freeze_until")
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
    frozen_blocks = tuple(block for block in blocks if block in modules)
    return FreezePoint(first, frozen_blocks, modules, frozen, trainable, depths)


def _only(point: FreezePoint, learning: frozenset[str]) -> FreezePoint:
    """The same cut with fewer trainable parameters behind it."""
    trainable = tuple(name for name in point.trainable_parameters if name in learning)
    frozen = tuple(name for name in point.trainable_parameters if name not in learning)
    return replace(
        point,
        frozen_parameters=(*point.frozen_parameters, *frozen),
        trainable_parameters=trainable,
        depths={name: point.depths[name] for name in trainable},
    )


def _learning(model: nn.Module, strategy: Strategy) -> frozenset[str]:
    """The parameters of the strategy's kind, and those of the head."""
    kind = FREEZES[strategy].kind
    parameters = {name for name, _ in model.named_parameters()}
    norms = {name for name, module in model.named_modules() if type(module).__name__.endswith(NORMS)}
    # Biases and norms need no peft: its LN tuning (`LNTuningConfig`) copies each norm to switch between copies.
    kinds: dict[Kind, Callable[[str], bool]] = {
        "all": lambda _: True,
        "biases": lambda name: name.endswith("bias"),
        "norms": lambda name: name.rpartition(".")[0] in norms,
        "adapters": lambda name: LORA in name,
    }
    of_head = {name for name in parameters if name.startswith(f"{HEAD}.")}
    learning = {name for name in parameters if kinds[kind](name)}
    if kind != "all" and learning <= of_head:
        raise SettingsError(
            f"adaptation.strategy {strategy}: the pre-trained part of this model has no parameter of that kind;"
            " use feature_extraction, partial or fine_tuning"
        )
    return frozenset(learning | of_head)


def learned(model: nn.Module, point: FreezePoint) -> dict[str, Tensor]:
    """All that training changes: the trainable parameters, and the BatchNorm statistics behind the freeze point."""
    still = _still_modules(model, point)
    return trainable(model) | {
        name: tensor for name, tensor in statistics(model).items() if name.rpartition(".")[0] not in still
    }


def statistics(model: nn.Module) -> dict[str, Tensor]:
    """All that BatchNorms keep of the batches that they have seen, by name."""
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
