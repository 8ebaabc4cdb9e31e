"""Backbones of timm from folders as timm and Hugging Face write them, whole or refused."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file, save_file
from torch import nn

import graftline.torchvision_import  # noqa: F401 - must come before timm

# isort: split
import timm

from graftline.backbones import CONFIG, incomplete, read_config
from graftline.errors import BaseModelRefusedError
from graftline.files import write_json

WEIGHTS = "model.safetensors"
# What checkpoints hold beside the backbone and their classifier: the second classifier of Inception.
AUXILIARY = "AuxLogits"
# What timm itself takes apart from the architecture's arguments: with these a configuration could name other files.
LOADING = set(inspect.signature(timm.create_model).parameters) - {"kwargs"}
# Where the weights came from is no longer true of them once they were adapted.
ORIGINS = {"url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "custom_load"}


def load_timm(folder: Path, *, scratch: bool = False) -> nn.Module:
    """A backbone of timm without its classifier, whose output is the pooled vector; from `scratch` as timm begins it.

    Raises: BaseModelRefusedError if its architecture is unknown, or its weights are not exactly those of it.
    """
    config = read_config(folder)
    architecture, described = config["architecture"], config.get("pretrained_cfg") or {}
    if not timm.is_model(architecture):
        raise BaseModelRefusedError(
            f"{folder.name}: {CONFIG} names the architecture {architecture!r}, which timm {timm.__version__} does not"
            " know; choose another base model"
        )
    arguments = config.get("model_args") or {}
    if loading := sorted(LOADING & arguments.keys()):
        raise BaseModelRefusedError(
            f"{folder.name}: model_args in {CONFIG} holds {loading[0]!r}, which decides where weights come from,"
            " expected arguments of the architecture; choose another base model, or remove it and run `graftline lock`"
        )
    backbone: nn.Module = timm.create_model(architecture, num_classes=0, pretrained_cfg=described, **arguments)
    if not scratch:
        _load_exactly(backbone, folder, described)
    return backbone.float()


def save_timm(backbone: nn.Module, folder: Path) -> None:
    """Write configuration and weights as `load_timm` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    described, arguments = cast("Any", backbone).pretrained_cfg, cast("Any", backbone)._model_args
    config = {
        "architecture": described["architecture"],
        "num_classes": 0,
        "model_args": {name: value for name, value in arguments.items() if name != "num_classes"},
        "pretrained_cfg": {name: value for name, value in described.items() if name not in ORIGINS},
    }
    write_json(folder / CONFIG, config)
    save_file({name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}, folder / WEIGHTS)


def _load_exactly(backbone: nn.Module, folder: Path, described: Mapping[str, Any]) -> None:
    weights = load_file(folder / WEIGHTS)
    expected = backbone.state_dict()
    noise = [name for name in expected if name not in weights or weights[name].shape != expected[name].shape]
    # An old BatchNorm has no counter, and none is read.
    noise = [name for name in noise if not name.endswith("num_batches_tracked")]
    if noise:
        raise incomplete(folder, type(backbone).__name__, noise)
    classifier = described.get("classifier") or ()
    left = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    unused = [
        name
        for name in sorted(weights.keys() - expected.keys())
        if not name.startswith(tuple(f"{prefix}." for prefix in (*left, AUXILIARY)))
    ]
    if unused:
        raise BaseModelRefusedError(
            f"{folder.name}: the weights hold {len(unused)} tensors that {type(backbone).__name__} has no place for"
            f" (first: {unused[0]}), so they are of another model than {CONFIG} says; choose a checkpoint whose two"
            " files belong together"
        )
    backbone.load_state_dict({name: weights[name] for name in expected if name in weights}, strict=False)
