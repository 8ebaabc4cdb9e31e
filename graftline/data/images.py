"""Images from bytes: decoded whole or refused with a reason, and what can be said of one without a model."""

import hashlib
import io
import re
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import imagehash
import numpy as np
from PIL import Image, ImageFile, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP")
# The pixels of large cameras; 150 MB in memory. Above 89 million pixels Pillow itself warns.
MAX_PIXELS = 50_000_000
# Models resize the shorter side to theirs: of a line of 16,000 pixels in 126 bytes they would make gigabytes. No
# panorama is so long.
MAX_ASPECT = 20
SHOWN_BYTES = 12
# 256 bits tell the small and similar pictures of one class apart (MNIST digits), where the usual 64 do not.
HASH_SIDE = 16
# Any number of 0xFF may fill the space in front of a marker.
JPEG_MARKER, JPEG_START_OF_SCAN, JPEG_END = re.compile(rb"\xff[^\xff]"), 0xDA, b"\xff\xd9"
# The errors of Pillow's decoders on damaged content; its own errors are OSErrors.
DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, OverflowError, MemoryError, EOFError, LookupError, struct.error,
    zlib.error,
)  # fmt: skip


class UnreadableImageError(ValueError):
    """An image that cannot be decoded whole. Its text is a short reason, without the file's name."""


@dataclass(frozen=True)
class ImageFacts:
    """Facts about an image that need no model."""

    format: str
    mode: str
    """How the file stores a pixel, in Pillow's words: L, RGB, RGBA, CMYK, P, I;16, ..."""
    width: int
    """In pixels, after the rotation that EXIF asks for."""
    height: int
    is_constant: bool
    """Every pixel has the same colour."""
    perceptual_hash: int
    """256 bits, most of which survive another size or compression (pHash: signs of the low cosine frequencies)."""
    sha256: str
    """The digest of the size and of the decoded pixels: equal for the same picture in another lossless file."""


def decode_image(content: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The whole picture as RGB: rotated as EXIF asks, transparent parts on white, the high 8 bits of 16.

    Of an animation the first picture. Colour profiles are not applied: base models were trained without, too.
    Raises: UnreadableImageError if it is no PNG, JPEG or WebP, larger than `max_pixels`, narrower than any picture, or
    damaged.
    """
    return _as_rgb(_decoded(content, max_pixels))


def image_pixels(content: bytes, *, max_pixels: int = MAX_PIXELS) -> int:
    """How many pixels it has, as its header says. Raises: UnreadableImageError as `decode_image` does, but not yet for
    damage behind the header.
    """
    width, height = _opened(content, max_pixels).size
    return width * height


def image_facts(content: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """The facts about an image. Raises: UnreadableImageError as `decode_image` does."""
    stored = _decoded(content, max_pixels)
    picture = _as_rgb(stored)
    pixels = np.asarray(picture)
    return ImageFacts(
        format="JPEG" if stored.format == "MPO" else stored.format or "",
        mode=stored.mode,
        width=picture.width,
        height=picture.height,
        is_constant=bool((pixels == pixels[0, 0]).all()),
        perceptual_hash=_perceptual_hash(picture),
        sha256=_pixels_sha256(pixels),
    )


def _decoded(content: bytes, max_pixels: int) -> Image.Image:
    image = _opened(content, max_pixels)
    try:
        if image.format == "PNG":
            # Pillow decodes it without its checksums; `verify` looks at them, and spoils the image for decoding.
            image.verify()
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except DECODER_ERRORS as error:
        raise UnreadableImageError(f"damaged or cut off ({_one_line(error)})") from None
    if image.format in ("JPEG", "MPO") and not _has_end(content):
        raise UnreadableImageError("cut off: the JPEG has no end mark, what stands there instead decodes as grey")
    return image


def _opened(content: bytes, max_pixels: int) -> ImageFile.ImageFile:
    """The image, of which only the header was read: what is none, or a bomb, is refused by that alone."""
    if not content:
        raise UnreadableImageError("the file is empty")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        # Its text begins "Image size (1600000000 pixels)"; the two sides are not to be had.
        pixels = int(re.findall(r"\d+", str(error))[0])
        raise UnreadableImageError(f"too large: {pixels:,} pixels, expected at most {max_pixels:,}") from None
    except DECODER_ERRORS:
        raise UnreadableImageError(
            f"no readable PNG, JPEG or WebP image: it begins with {content[:SHOWN_BYTES]!r}"
        ) from None
    _check_size(*image.size, max_pixels)
    return image


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UnreadableImageError(f"too large: {width:,} x {height:,} pixels, expected at most {max_pixels:,}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnreadableImageError(
            f"too narrow: {width:,} x {height:,} pixels, expected at most {MAX_ASPECT} times as many along one side as"
            " along the other"
        )


def _has_end(content: bytes) -> bool:
    """Whether a JPEG's end mark stands behind the start of its pixels: its preview has a mark of its own before.

    A file that was cut and filled with zeros may decode without an error.
    """
    place = 2
    while (marker := JPEG_MARKER.search(content, place)) and marker.end() < len(content) - 2:
        if content[marker.end() - 1] == JPEG_START_OF_SCAN:
            return content.find(JPEG_END, marker.end()) >= 0
        place = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return False


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    opaque = Image.new("RGBA", image.size, "white")
    opaque.alpha_composite(image.convert("RGBA"))
    return opaque.convert("RGB")


def _perceptual_hash(picture: Image.Image) -> int:
    return int(str(imagehash.phash(picture, hash_size=HASH_SIDE)), 16)


def _pixels_sha256(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    digest = hashlib.sha256(f"{pixels.shape}\n".encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
