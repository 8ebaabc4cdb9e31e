"""Images from bytes: decoded whole or refused with a reason, and what can be said of one without a model."""

import hashlib
import io
import re
from dataclasses import dataclass
from typing import Any

import imagehash
import numpy as np
from PIL import Image, ImageFile

from graftline.data.file_parts import has_too_many
from graftline.data.image_containers import (
    FULL_BITS,
    JPEG_END,
    JPEG_MARK,
    JPEG_START_OF_SCAN,
    deep_pixels,
    has_all_rows,
    has_too_many_scans,
    holds_several,
    image_parts,
    jpeg_parts,
    longer_jpeg,
    without_tags,
)
from graftline.other_formats import what_it_is

FORMATS = ("PNG", "JPEG", "WEBP")
# The pixels of large cameras; 150 MB in memory. Above 89 million pixels Pillow itself warns.
MAX_PIXELS = 50_000_000
# Models resize the shorter side to theirs: of a line of 16,000 pixels in 126 bytes they would make gigabytes. No
# panorama is so long.
MAX_ASPECT = 20
SHOWN_BYTES = 12
# 256 bits tell the small and similar pictures of one class apart (MNIST digits), where the usual 64 do not.
HASH_SIDE = 16
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


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
    used_bits: int | None = None
    """Of a picture of 16 bits a sample that does not say how many of them it uses: how many it uses, at least 8."""


def decode_image(content: bytes, *, max_pixels: int = MAX_PIXELS, sample_bits: int = FULL_BITS) -> Image.Image:
    """The whole picture as RGB: rotated as EXIF asks, transparent parts on white, the upper 8 bits of what it uses.

    A PNG of 16 bits a sample uses as many of them as it says, else `sample_bits`, or more if it holds larger values. Of
    an animation the first picture. Colour profiles are not applied: base models were trained without, too.
    Raises: UnreadableImageError if it is no PNG, JPEG or WebP, larger than `max_pixels`, narrower than any picture, or
    damaged.
    """
    return _decoded(content, max_pixels, sample_bits).picture


def image_pixels(content: bytes, *, max_pixels: int = MAX_PIXELS) -> int:
    """How many pixels it has, as its header says. Raises: UnreadableImageError as `decode_image` does, but not yet for
    damage behind the header.
    """
    _check_parts(content)
    try:
        width, height = _opened(content, max_pixels).size
    except UnreadableImageError:
        width, height = _opened(without_tags(content), max_pixels).size  # as it is decoded then
    return width * height


def image_facts(content: bytes, *, max_pixels: int = MAX_PIXELS, sample_bits: int = FULL_BITS) -> ImageFacts:
    """The facts about an image. Raises: UnreadableImageError as `decode_image` does."""
    decoded = _decoded(content, max_pixels, sample_bits)
    picture, pixels = decoded.picture, np.asarray(decoded.picture)
    return ImageFacts(
        format=decoded.format,
        mode=decoded.mode,
        width=picture.width,
        height=picture.height,
        is_constant=bool((pixels == pixels[0, 0]).all()),
        perceptual_hash=_perceptual_hash(picture),
        sha256=_pixels_sha256(pixels),
        used_bits=decoded.used_bits,
    )


@dataclass(frozen=True)
class _Decoded:
    picture: Image.Image
    format: str
    mode: str
    used_bits: int | None


def _decoded(content: bytes, max_pixels: int, sample_bits: int) -> _Decoded:
    _check_parts(content)
    decoded = _with_tags_or_without(content, max_pixels, sample_bits)
    if holds_several(content):
        raise UnreadableImageError("holds several pictures, of which only one would be read; expected one per file")
    return decoded


def _with_tags_or_without(content: bytes, max_pixels: int, sample_bits: int) -> _Decoded:
    try:
        return _whole(content, max_pixels, sample_bits)
    except UnreadableImageError:
        # A profile of megabytes or a broken comment damages no pixel.
        bare = without_tags(content)
        if len(bare) == len(content):
            raise
        try:
            return _whole(bare, max_pixels, sample_bits)
        except UnreadableImageError:
            pass
        raise


def _whole(content: bytes, max_pixels: int, sample_bits: int) -> _Decoded:
    image = _opened(content, max_pixels)
    try:
        if image.format == "PNG":
            # Pillow decodes it without its checksums; `verify` looks at them, and spoils the image for decoding.
            image.verify()
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            return _png(content, image, sample_bits)
        image.load()
        if image.format == "WEBP":
            return _Decoded(_upright(_as_rgb(image), image), "WEBP", image.mode, None)
        _check_jpeg(content, image)
        return _Decoded(_upright(_as_rgb(image), image), "JPEG", image.mode, None)
    except (UnreadableImageError, MemoryError):
        raise  # no room for a picture within its limits is the machine's fault
    except Exception as error:  # noqa: BLE001 - decoders raise anything, and one file may never end a run
        raise UnreadableImageError(f"damaged or cut off ({_one_line(error)})") from None


def _png(content: bytes, image: ImageFile.ImageFile, sample_bits: int) -> _Decoded:
    how = str(image.tile[0].args) if image.tile else ""
    image.load()
    if not has_all_rows(content, image):
        raise UnreadableImageError("cut off: its rows end before the picture does, what stands there instead is black")
    deep = deep_pixels(content, image, how)
    is_shifted = deep and (image.mode.startswith("I") or deep.bits(sample_bits) < FULL_BITS)
    picture = _as_rgb(deep.shown(sample_bits) if deep and is_shifted else image)
    used_bits = deep.used_bits if deep and deep.said_bits is None else None
    return _Decoded(_upright(picture, image), "PNG", image.mode, used_bits)


def _check_jpeg(content: bytes, image: ImageFile.ImageFile) -> None:
    if not _has_end(content):
        raise UnreadableImageError("cut off: the JPEG has no end mark, what stands there instead decodes as grey")
    if (longer := longer_jpeg(content, image)) is None:
        return
    with Image.open(io.BytesIO(longer), formats=FORMATS) as again:
        if again.tobytes() != image.tobytes():
            raise UnreadableImageError("cut off: its pixels end before the picture does")


def _upright(picture: Image.Image, image: ImageFile.ImageFile) -> Image.Image:
    """The picture as its EXIF says; tags that nobody can read say nothing, as in every viewer."""
    try:
        how = UPRIGHT.get(image.getexif()[ORIENTATION])
    except Exception:  # noqa: BLE001 - Pillow's own reader raises anything
        how = None
    return picture if how is None else picture.transpose(how)


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
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - decoders raise anything
        other = what_it_is(content, expected=("PNG", "JPEG", "WebP")) or f"it begins with {content[:SHOWN_BYTES]!r}"
        raise UnreadableImageError(f"no readable PNG, JPEG or WebP image: {other}") from None
    _check_size(*image.size, max_pixels)
    return image


def _check_parts(content: bytes) -> None:
    """Pillow looks at each part, and at each byte between two, before the size of the picture is known."""
    if has_too_many(image_parts(content), content):
        raise UnreadableImageError("holds more parts, or bytes between them, than any picture needs")
    if content.startswith(JPEG_MARK) and has_too_many_scans(content):
        raise UnreadableImageError("draws over itself more often than any JPEG needs")


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
    return any(
        name == JPEG_START_OF_SCAN and content.find(JPEG_END, start) >= 0 for name, start, _ in jpeg_parts(content)
    )


def _as_rgb(image: Image.Image) -> Image.Image:
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
