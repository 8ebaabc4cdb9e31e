"""The architecture of a base model without what it learned, for comparison."""

import shutil
from pathlib import Path

import torch

import graftline.models.torchvision_import  # noqa: F401 - must come before timm and transformers

# isort: split
import timm
from transformers import AutoConfig, AutoModel

from graftline.models.timm_backbones import save_timm
from graftline.models.transformers_backbones import is_timm, read_config, save_transformers

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


def write_untrained(base: Path, folder: Path, *, seed: int) -> Path:
    """The model in `base` as its library makes it anew, with random weights; preprocessing and pooling are the same."""
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns(*WEIGHTS))
    torch.manual_seed(seed)
    if is_timm(folder):
        config = read_config(folder)
        arguments = {"pretrained_cfg": config.get("pretrained_cfg"), **(config.get("model_args") or {})}
        save_timm(timm.create_model(config["architecture"], num_classes=0, **arguments), folder)
    else:
        save_transformers(AutoModel.from_config(AutoConfig.from_pretrained(folder, local_files_only=True)), folder)
    return folder
