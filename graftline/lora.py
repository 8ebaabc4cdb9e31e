"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) through peft: put in and merged."""

import re
from collections.abc import Sequence
from typing import cast

import graftline.torchvision_import  # noqa: F401 - must come before transformers, which peft imports

# isort: split
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from graftline.errors import SettingsError

# GPT-2 keeps its linear layers as Conv1D. Grouped convolutions have no low-rank form in peft.
LAYERS = (nn.Linear, Conv1D, nn.Conv2d)


def add_lora(
    model: nn.Module, blocks: Sequence[str], *, rank: int, alpha: float, dropout: float, targets: str | None
) -> tuple[str, ...]:
    """Put an adapter beside each linear layer or convolution of `blocks`, and return those layers' names.

    The adapters start at zero, so the model answers as before. `targets` is a regular expression that a layer's name
    must contain; without one every layer of the blocks is adapted, which does better than attention alone (Dettmers
    et al. 2023, arXiv 2305.14314, section 4).
    Raises: SettingsError if nothing is left to adapt.
    """
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, LAYERS) and getattr(module, "groups", 1) == 1 and name.startswith(_within(blocks))
    ]
    chosen = [name for name in layers if targets is None or re.search(targets, name)]
    if not chosen:
        raise SettingsError(
            f"adaptation.lora_targets {targets!r} matches none of the {len(layers)} layers that can be adapted;"
            f" expected a regular expression for names such as {', '.join(layers[:3]) or '(this model has none)'}"
        )
    transposed = all(isinstance(model.get_submodule(name), Conv1D) for name in chosen)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=chosen, fan_in_fan_out=transposed
    )  # fmt: skip
    inject_adapter_in_model(config, model)
    return tuple(chosen)


def merge_lora(model: nn.Module) -> None:
    """Add the adapters to the weights beside them, and leave the architecture as it was before `add_lora`."""
    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    for name, module in adapted:
        layer = cast("LoraLayer", module)
        layer.merge(safe_merge=True)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


def _within(blocks: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{block}." for block in blocks)
