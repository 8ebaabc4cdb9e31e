"""Image models: the checkpoint's own preprocessing, and one vector per image from what its backbone says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn

import graftline.torchvision_import  # noqa: F401 - must come before timm and transformers

# isort: split
from timm.data import create_transform, resolve_data_config
from transformers import AutoImageProcessor

from graftline.augmentation import View, augmented_image, named
from graftline.backbones import load_transformers, read_config, save_transformers
from graftline.batching import sorted_batches
from graftline.blocks import PATTERNS
from graftline.digests import lines_sha256
from graftline.errors import BaseModelRefusedError
from graftline.family import Family, Pooling
from graftline.images import UnreadableImageError, decode_image
from graftline.media import Medium, media_of
from graftline.preprocessing import Reading
from graftline.timm_backbones import load_timm, save_timm

# Enough images to fill the processor; their activations are many times larger than they.
BATCH_IMAGES = 16
PIXELS = "pixel_values"
# Batch, channels, height, width.
FEATURE_MAP_AXES = 4
# Of pictures, where a configuration does not say another.
USUAL_SIDE = 224


@dataclass(frozen=True)
class ImagePreprocessor:
    """Resizing, cropping and scaling as the checkpoint was trained with."""

    transform: Callable[[Image.Image], Tensor]
    """One picture as (3, height, width), of the same height and width for every picture."""
    reading: Reading
    write: Callable[[Path], None]
    """Writes what describes the transform."""
    shape: tuple[int, ...]
    batch_length = BATCH_IMAGES
    mixes_lengths = True

    def encode(self, raws: Sequence[object]) -> list[Medium]:
        """The images, not yet decoded. Raises: ValueError naming the first that is none."""
        return media_of(raws, "an image")

    def length(self, row: Medium) -> int:  # noqa: ARG002 - of every image
        """1: all have the same size."""
        return 1

    def padded(self, row: Medium) -> Medium:
        """As it is: all have the same size."""
        return row

    def key(self, row: Medium) -> str:
        """A digest of the file's bytes and of the view."""
        return lines_sha256([f"{BATCH_IMAGES} channels last", row.digest(), *named(row.view)])[:32]

    def in_view(self, row: Medium, view: View) -> Medium:
        """The image, cropped and lit at random once it is decoded."""
        return replace(row, view=view)

    def collate(self, rows: Sequence[Medium]) -> dict[str, Tensor]:
        """The pictures decoded: (batch, 3, height, width). Raises: ValueError for one that cannot be decoded."""
        return {PIXELS: torch.stack([self._pixels(row) for row in rows])}

    def blank(self, rows: Sequence[Medium]) -> dict[str, Tensor]:
        """A batch of the same shape for which nothing is read; it takes no memory."""
        return {PIXELS: torch.zeros(()).expand(len(rows), *self.shape)}

    def batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Images in their order."""
        return sorted_batches(lengths, BATCH_IMAGES)

    def save(self, folder: Path) -> None:
        """Write what describes the transform."""
        self.write(folder)

    def _pixels(self, row: Medium) -> Tensor:
        try:
            picture = decode_image(row.read())
        except UnreadableImageError as error:
            raise row.unreadable("image", error) from None
        return self.transform(picture if row.view is None else augmented_image(picture, self.key(row)))


def _timm_preprocessor(folder: Path, reading: Reading) -> ImagePreprocessor:
    described = read_config(folder).get("pretrained_cfg") or {}
    transform = create_transform(**resolve_data_config({}, pretrained_cfg=described))
    # The backbone's own configuration holds it.
    return _preprocessor(folder, reading, transform, lambda _: None)


def _transformers_preprocessor(folder: Path, reading: Reading) -> ImagePreprocessor:
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

    return _preprocessor(folder, reading, transform, processor.save_pretrained)


def _preprocessor(
    folder: Path, reading: Reading, transform: Callable[[Image.Image], Tensor], write: Callable[[Path], None]
) -> ImagePreprocessor:
    # Of images that keep different sizes no batch can be made.
    shapes = {tuple(transform(Image.new("RGB", size, "grey")).shape) for size in ((64, 96), (96, 64))}
    if len(shapes) != 1:
        raise BaseModelRefusedError(
            f"{folder.name}: its preprocessing leaves images at different sizes, expected one that crops or resizes all"
            " to the same; choose another base model"
        )
    return ImagePreprocessor(transform, reading, write, shapes.pop())


def _pooled_by_timm(backbone: nn.Module, batch: Mapping[str, Tensor], pooling: Pooling) -> Tensor:  # noqa: ARG001
    vectors: Tensor = backbone(batch[PIXELS])
    return vectors


def _pooled_by_transformers(backbone: nn.Module, batch: Mapping[str, Tensor], pooling: Pooling) -> Tensor:
    output = backbone(batch[PIXELS])
    # Convolutional networks pool themselves; a transformer says it in its first token, or its tokens' mean.
    pooled: Tensor | None = getattr(output, "pooler_output", None)
    if pooling == "own" and pooled is not None:
        return pooled.flatten(1)
    hidden: Tensor = output.last_hidden_state
    if hidden.ndim == FEATURE_MAP_AXES:
        return hidden.mean((2, 3))
    return hidden[:, 0] if pooling == "first" else hidden.mean(1)


def _transformers_pooling(folder: Path, backbone: nn.Module) -> Pooling:  # noqa: ARG001
    if _pools_itself(backbone):
        return "own"
    return "first" if hasattr(getattr(backbone, "embeddings", None), "cls_token") else "mean"


def _load_transformers_backbone(folder: Path, *, scratch: bool = False) -> nn.Module:
    backbone = load_transformers(folder, scratch=scratch)
    if not _pools_itself(backbone) and getattr(backbone, "pooler", None) is not None:
        # ViT's and its kind's is a layer of its own, which checkpoints often lack or never trained.
        backbone.pooler = cast("nn.Module", None)
    return _channels_last(backbone)


def _load_timm_backbone(folder: Path, *, scratch: bool = False) -> nn.Module:
    return _channels_last(load_timm(folder, scratch=scratch))


def _channels_last(backbone: nn.Module) -> nn.Module:
    """With the weights of its convolutions, and so their outputs, in the order in which processors compute them best.

    EfficientNet-lite0 takes 7.3 instead of 11.8 ms for an image so, in float32 13.1 instead of 25.0 (2 cores).
    """
    return cast("nn.Module", cast("Any", backbone).to(memory_format=torch.channels_last))


def _pools_itself(backbone: nn.Module) -> bool:
    """Whether the pooled output is a plain mean or maximum of a feature map, without weights of its own."""
    return hasattr(cast("Any", backbone).config, "hidden_sizes") or hasattr(cast("Any", backbone).config, "hidden_dim")


def _transformers_width(backbone: nn.Module) -> int:
    config = cast("Any", backbone).config
    if type(backbone).__name__ not in PATTERNS:
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
            vectors = _pooled_by_transformers(backbone.eval(), {PIXELS: black}, "own")
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, AssertionError) as error:
        raise BaseModelRefusedError(
            f"{type(backbone).__name__} says nothing of a picture of {height} x {width} pixels that could be pooled"
            f" ({type(error).__name__}: {error}), expected a model of images alone; choose another base model"
        ) from None
    finally:
        backbone.train(was_training)
    return vectors.shape[1]


TIMM = Family(
    load=_load_timm_backbone,
    save=save_timm,
    preprocessor=_timm_preprocessor,
    vectors=_pooled_by_timm,
    width=lambda backbone: int(getattr(backbone, "head_hidden_size", None) or cast("Any", backbone).num_features),
    pooling=lambda *_: "own",
)
TRANSFORMERS_IMAGES = Family(
    load=_load_transformers_backbone,
    save=save_transformers,
    preprocessor=_transformers_preprocessor,
    vectors=_pooled_by_transformers,
    width=_transformers_width,
    pooling=_transformers_pooling,
)
