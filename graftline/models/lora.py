"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) through peft: put in, merged, kept beside the weights."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from graftline.errors import BaseModelRefusedError, SettingsError
from graftline.models.blocks import no_blocks
from graftline.models.parts import LORA

ADAPTERS = "adapters.safetensors"
# The name of the only set of adapters in peft.
PEFT_NAME = "default"
# GPT-2 keeps its linear layers as Conv1D. Grouped convolutions have no low-rank form in peft.
LAYERS = (nn.Linear, Conv1D, nn.Conv2d)


@dataclass(frozen=True)
class Adapters:
    """Where adapters are and what they are like; their tensors lie in `ADAPTERS`."""

    layers: tuple[str, ...]
    rank: int
    alpha: float


def add_lora(
    model: nn.Module, blocks: Sequence[str], *, rank: int, alpha: float, dropout: float, targets: str | None
) -> tuple[str, ...]:
    """Put an adapter beside each linear layer or convolution of `blocks`, and return those layers' names.

    The adapters start at zero, so the model answers as before. `targets` is a regular expression that a layer's name
    must contain; without one every layer of the blocks is adapted, which does better than attention alone (Dettmers
    et al. 2023, arXiv 2305.14314, section 4).
    Raises: SettingsError if nothing is left to adapt.
    """
    if not blocks:
        raise no_blocks("adaptation.strategy lora")
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, LAYERS) and getattr(module, "groups", 1) == 1 and f"{name}.".startswith(_within(blocks))
    ]
    chosen = tuple(name for name in layers if targets is None or re.search(targets, name))
    if not layers:
        raise SettingsError(
            "adaptation.strategy lora: the blocks of this model have no linear layer and no convolution that can be"
            " adapted; use feature_extraction, partial or fine_tuning"
        )
    if not chosen:
        raise SettingsError(
            f"adaptation.lora_targets {targets!r} matches none of the {len(layers)} layers that can be adapted;"
            f" expected a regular expression for names such as {', '.join(layers[:3])}"
        )
    _inject(model, Adapters(chosen, rank, alpha), dropout)
    return chosen


def merge_lora(model: nn.Module) -> None:
    """Add the adapters to the weights beside them, and leave the architecture as it was before `add_lora`."""
    for layer in _adapted(model).values():
        layer.merge(safe_merge=True)
    _take_out(model)


def take_out_lora(model: nn.Module, folder: Path) -> Adapters:
    """Write the adapters to `folder` and leave the model as it was before them."""
    layers = _adapted(model)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if LORA in name}
    save_file(tensors, folder / ADAPTERS)
    first = next(iter(layers.values()))
    _take_out(model)
    return Adapters(tuple(layers), first.r[PEFT_NAME], first.lora_alpha[PEFT_NAME])


def put_in_lora(model: nn.Module, adapters: Adapters, folder: Path) -> None:
    """Put in again what `take_out_lora` wrote."""
    _inject(model, replace(adapters, layers=tuple(adapters.layers)), dropout=0.0)
    tensors = load_file(folder / ADAPTERS)
    _, unexpected = model.load_state_dict(tensors, strict=False)
    if unexpected or len(tensors) != sum(LORA in name for name in model.state_dict()):
        raise BaseModelRefusedError(f"{folder / ADAPTERS}: the adapters do not fit this model; fetch both again")


def _inject(model: nn.Module, adapters: Adapters, dropout: float) -> None:
    transposed = all(isinstance(model.get_submodule(name), Conv1D) for name in adapters.layers)
    config = LoraConfig(
        r=adapters.rank,
        lora_alpha=adapters.alpha,
        lora_dropout=dropout,
        target_modules=list(adapters.layers),
        fan_in_fan_out=transposed,
    )
    inject_adapter_in_model(config, model)


def _adapted(model: nn.Module) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def _take_out(model: nn.Module) -> None:
    for name, layer in _adapted(model).items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    del model.peft_config


def _within(blocks: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{block}." for block in blocks)
