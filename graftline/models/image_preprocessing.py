"""Pictures on their way into a model, as its checkpoint was trained with them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from graftline.data.images import UnreadableImageError, decode_image
from graftline.data.media_files import MOST_SAMPLE_BITS
from graftline.errors import BaseModelRefusedError
from graftline.models.batching import sorted_batches
from graftline.models.media import Medium, media_of
from graftline.models.preprocessing import Reading, row_key
from graftline.models.views import View, augmented_image

# Enough images to fill the processor; their activations are many times larger than they.
BATCH_IMAGES = 16
PIXELS = "pixel_values"


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

    def encode(self, raws: Iterable[object]) -> list[Medium]:
        """The images, not yet decoded. Raises: ValueError naming the first that is none."""
        return media_of(raws, "an image")

    def length(self, row: Medium) -> int:  # noqa: ARG002 - of every image
        """1: all have the same size."""
        return 1

    def padded(self, row: Medium) -> Medium:
        """As it is: all have the same size."""
        return row

    def key(self, row: Medium) -> str:
        """A digest of the file's bytes, of how they are decoded, and of the view."""
        bits = self.reading.sample_bits
        deep = [] if bits == MOST_SAMPLE_BITS else [f"{bits} bits"]
        return row_key(f"{BATCH_IMAGES} channels last", [row.digest(), *deep], row.view)

    def carried(self, row: Medium) -> Medium:
        """The image with its bytes. Raises: as `Medium.read`."""
        return row.carried()

    def in_view(self, row: Medium, view: View) -> Medium:
        """The image, cropped and lit at random once it is decoded."""
        return replace(row, view=view)

    def collate(self, rows: Sequence[Medium]) -> dict[str, Tensor]:
        """The pictures decoded: (batch, 3, height, width). Raises: ValueError for one that cannot be decoded."""
        return {PIXELS: torch.stack([self._pixels(row) for row in rows])}

    def blank(self, rows: Sequence[Medium]) -> dict[str, Tensor]:
        """A batch of the same shape for which nothing is read; it takes no memory."""
        return {PIXELS: torch.zeros(()).expand(len(rows), *self.shape)}

    def batches(self, lengths: Sequence[int]) -> Sequence[list[int]]:
        """Images in their order."""
        return sorted_batches(lengths, BATCH_IMAGES)

    def save(self, folder: Path) -> None:
        """Write what describes the transform."""
        self.write(folder)

    def _pixels(self, row: Medium) -> Tensor:
        try:
            picture = decode_image(row.read(), sample_bits=self.reading.sample_bits)
        except UnreadableImageError as error:
            raise row.unreadable("image", error) from None
        return self.transform(picture if row.view is None else augmented_image(picture, self.key(row)))


def image_preprocessor(
    folder: Path, reading: Reading, transform: Callable[[Image.Image], Tensor], write: Callable[[Path], None]
) -> ImagePreprocessor:
    """The preprocessor of this transform. Raises: BaseModelRefusedError if it leaves images at different sizes."""
    # Of these no batch can be made.
    shapes = {tuple(transform(Image.new("RGB", size, "grey")).shape) for size in ((64, 96), (96, 64))}
    if len(shapes) != 1:
        raise BaseModelRefusedError(
            f"{folder.name}: its preprocessing leaves images at different sizes, expected one that crops or resizes all"
            " to the same; choose another base model"
        )
    return ImagePreprocessor(transform, reading, write, shapes.pop())
