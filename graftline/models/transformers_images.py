"""Image models of transformers: pooled by themselves, or one vector from what they say of a picture's parts."""

from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor

from graftline.compute.device import FEATURE_MAP_AXES, FORWARD_ERRORS, Batch, channels_last
from graftline.errors import BaseModelRefusedError
from graftline.models.family import Family
from graftline.models.image_preprocessing import PIXELS, ImagePreprocessor, image_preprocessor
from graftline.models.pooling import Pooling
from graftline.models.preprocessing import Reading
from graftline.models.transformers_backbones import is_of_transformers, load_transformers, save_transformers

BLOCKS = {
    "ResNetModel": r"encoder\.stages\.\d+\.layers\.\d+",
    "ConvNextModel": r"encoder\.stages\.\d+\.layers\.\d+",
    "EfficientNetModel": r"encoder\.blocks\.\d+",
    "ViTModel": r"layers\.\d+",
}
# Of pictures, where a configuration does not say another.
USUAL_SIDE = 224


def _load_backbone(folder: Path, *, scratch: bool = False) -> nn.Module:
    backbone = load_transformers(folder, scratch=scratch)
    if not _pools_itself(backbone) and getattr(backbone, "pooler", None) is not None:
        # ViT's and its kind's is a layer of its own, which checkpoints often lack or never trained.
        backbone.pooler = cast("nn.Module", None)
    return channels_last(backbone)


def _load_preprocessor(folder: Path, reading: Reading) -> ImagePreprocessor:
    try:
        processor: Any = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError):
        raise BaseModelRefusedError(
            f"{folder.name}: holds no image processor that transformers can load, expected preprocessor_config.json as"
            " the model's publisher wrote it; choose a complete checkpoint"
        ) from None

    def transform(picture: Image.Image) -> Tensor:
        pixels: Tensor = processor(images=picture, return_tensors="pt")[PIXELS][0]
        return pixels

    return image_preprocessor(folder, reading, transform, processor.save_pretrained)


def _vectors(backbone: nn.Module, batch: Batch, pooling: Pooling) -> Tensor:
    output = backbone(batch[PIXELS])
    # Convolutional networks pool themselves; a transformer says it in its first token, or its tokens' mean.
    pooled: Tensor | None = getattr(output, "pooler_output", None)
    if pooling == "own" and pooled is not None:
        return pooled.flatten(1)
    hidden: Tensor = output.last_hidden_state
    if hidden.ndim == FEATURE_MAP_AXES:
        return hidden.mean((2, 3))
    return hidden[:, 0] if pooling == "first" else hidden.mean(1)


def _width(backbone: nn.Module) -> int:
    config = cast("Any", backbone).config
    if type(backbone).__name__ not in BLOCKS:
        return _measured_width(backbone)
    widths = getattr(config, "hidden_sizes", None) or [getattr(config, "hidden_dim", None) or config.hidden_size]
    return int(widths[-1])


def _measured_width(backbone: nn.Module) -> int:
    """The width of what an unknown kind of model says of a picture: configurations call it by many names."""
    config = cast("Any", backbone).config
    side = getattr(config, "image_size", None) or USUAL_SIDE
    height, width = (side, side) if isinstance(side, int) else tuple(side)
    black = torch.zeros(1, getattr(config, "num_channels", 3), height, width)
    was_training = backbone.training
    try:
        with torch.no_grad():
            vectors = _vectors(backbone.eval(), {PIXELS: black}, "own")
    except FORWARD_ERRORS as error:
        raise BaseModelRefusedError(
            f"{type(backbone).__name__} says nothing of a picture of {height} x {width} pixels that could be pooled"
            f" ({type(error).__name__}: {error}), expected a model of images alone; choose another base model"
        ) from None
    finally:
        backbone.train(was_training)
    return vectors.shape[1]


def _publishers_pooling(folder: Path, backbone: nn.Module) -> Pooling:  # noqa: ARG001
    if _pools_itself(backbone):
        return "own"
    return "first" if hasattr(getattr(backbone, "embeddings", None), "cls_token") else "mean"


def _pools_itself(backbone: nn.Module) -> bool:
    """Whether the pooled output is a plain mean or maximum of a feature map, without weights of its own."""
    return hasattr(cast("Any", backbone).config, "hidden_sizes") or hasattr(cast("Any", backbone).config, "hidden_dim")


TRANSFORMERS_IMAGES = Family(
    recognises=is_of_transformers,
    load=_load_backbone,
    save=save_transformers,
    preprocessor=_load_preprocessor,
    vectors=_vectors,
    width=_width,
    pooling=_publishers_pooling,
    blocks=BLOCKS,
)
