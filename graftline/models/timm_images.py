"""Image models of timm, which pool what they see themselves."""

from pathlib import Path
from typing import Any, cast

from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from graftline.compute.device import Batch, channels_last
from graftline.models.family import Family
from graftline.models.image_preprocessing import PIXELS, ImagePreprocessor, image_preprocessor
from graftline.models.pooling import Pooling
from graftline.models.preprocessing import Reading
from graftline.models.timm_backbones import load_timm, save_timm
from graftline.models.transformers_backbones import is_of_transformers, read_config

BLOCKS = {
    "ResNet": r"layer\d+\.\d+",
    "VGG": r"features\.\d+|pre_logits\.fc\d",
    "InceptionV3": r"(Conv2d|Mixed)_\w+",
    "EfficientNet": r"blocks\.\d+\.\d+",
    "MobileNetV3": r"blocks\.\d+\.\d+",
    "VisionTransformer": r"blocks\.\d+",
    "ConvNeXt": r"stages\.\d+\.blocks\.\d+",
}


def _load_backbone(folder: Path, *, scratch: bool = False) -> nn.Module:
    return channels_last(load_timm(folder, scratch=scratch))


def _load_preprocessor(folder: Path, reading: Reading) -> ImagePreprocessor:
    described = read_config(folder).get("pretrained_cfg") or {}
    transform = create_transform(**resolve_data_config({}, pretrained_cfg=described))
    # The backbone's own configuration holds it.
    return image_preprocessor(folder, reading, transform, lambda _: None)


def _vectors(backbone: nn.Module, batch: Batch, pooling: Pooling) -> Tensor:  # noqa: ARG001
    vectors: Tensor = backbone(batch[PIXELS])
    return vectors


TIMM = Family(
    recognises=lambda config: not is_of_transformers(config),
    load=_load_backbone,
    save=save_timm,
    preprocessor=_load_preprocessor,
    vectors=_vectors,
    width=lambda backbone: int(getattr(backbone, "head_hidden_size", None) or cast("Any", backbone).num_features),
    pooling=lambda *_: "own",
    blocks=BLOCKS,
)
