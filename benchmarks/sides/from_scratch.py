"""The architecture of a base model without what it learned, for comparison."""

import shutil
from pathlib import Path

import torch

from graftline.models.timm_backbones import load_timm, save_timm
from graftline.models.transformers_backbones import is_timm, load_transformers, save_transformers

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


def write_untrained(base: Path, folder: Path, *, seed: int) -> Path:
    """The model in `base` as its library makes it anew, with random weights; preprocessing and pooling are the same."""
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns(*WEIGHTS))
    torch.manual_seed(seed)
    if is_timm(folder):
        save_timm(load_timm(folder, scratch=True), folder)
    else:
        save_transformers(load_transformers(folder, scratch=True), folder)
    return folder
