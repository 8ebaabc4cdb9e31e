"""What an image's file holds beside its pixels, and the pixels of 16 bits, of which Pillow keeps the upper 8."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image, ImageFile

Values = np.ndarray[Any, np.dtype[Any]]

PNG_MARK = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH_PLACE, PNG_COLOUR_PLACE, PNG_GREY_AND_ALPHA = 24, 25, 4
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# The first column and row, and how many columns and rows further the next one is.
PNG_WHOLE = ((0, 0, 1, 1),)
PNG_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
BLOCK_BYTES = 1 << 20
# Words, profiles and hints for a screen: nothing that decides over a pixel, nor over which side is up.
PNG_TAGS = (
    b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"pHYs", b"tIME",
    b"bKGD", b"hIST", b"sPLT", b"sTER", b"dSIG",
)  # fmt: skip
# Any number of 0xFF may fill the space in front of a marker.
JPEG_MARK, JPEG_MARKER, JPEG_START_OF_SCAN = b"\xff\xd8", re.compile(rb"\xff[^\xff]"), 0xDA
# Pixels hold 0xFF with a zero behind it, and marks that they go on.
JPEG_BEHIND_PIXELS, JPEG_MOST_SCANS = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]"), 100
# So many of them take Pillow as long as a part.
JPEG_FILL_BYTES = 10
# Comments, and what applications write, but for Adobe's, which says how the colours are stored.
JPEG_TAGS = (*range(0xE1, 0xEE), 0xEF, 0xFE)
JPEG_PROGRESSIVE, JPEG_END = (0xC2, 0xC6, 0xCA, 0xCE), b"\xff\xd9"
# Whatever, but no two bytes alike that follow each other, and no 0xFF.
MORE_PIXELS = bytes(37 * place % 251 for place in range(2000))
# In whose tag further pictures are listed: CIPA's multi-picture format, and Google's container.
JPEG_LISTS = (b"MPF\0", b"Container:Directory")
WEBP_MARK = b"RIFF"
FULL_BITS, SHOWN_BITS = 16, 8
# How the lower bytes are asked of Pillow, by how it asks for the upper ones itself.
LOWER_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}


@dataclass(frozen=True)
class Deep:
    """The values of a picture of 16 bits a sample, and how many of the bits it uses."""

    values: Values
    """Of shape (height, width) or (height, width, channels), an alpha channel last."""
    said_bits: int | None
    """How many it says that it uses; None: it does not say."""

    @property
    def used_bits(self) -> int:
        return max(SHOWN_BITS, int(_colours(self.values).max()).bit_length())

    def bits(self, sample_bits: int) -> int:
        """How many bits a sample of it has among pictures of so many."""
        return self.said_bits or max(sample_bits, self.used_bits)

    def shown(self, sample_bits: int) -> Image.Image:
        """The picture with 8 bits a sample."""
        shown = self.values >> (self.bits(sample_bits) - SHOWN_BITS)
        # Opaque may be all 16 bits beside colours of fewer.
        return Image.fromarray(np.minimum(shown, 255, out=shown).astype(np.uint8))


def deep_pixels(content: bytes, image: ImageFile.ImageFile, how: str) -> Deep | None:
    """The values of the PNG from which `image` was decoded in the manner `how`; None if it has no 16 bits a sample."""
    if content[PNG_DEPTH_PLACE] != FULL_BITS:
        return None
    values: Values = np.asarray(image).astype(np.uint16)
    if how in LOWER_BYTES:
        # In place: of a large picture each copy takes some hundred megabytes.
        values <<= 8
        values |= _decoded_as(content, LOWER_BYTES[how], image.mode)
    elif content[PNG_COLOUR_PLACE] == PNG_GREY_AND_ALPHA:
        # Pillow has no name for their lower bytes, but four bytes are also one pixel of four channels.
        values = _decoded_as(content, "RGBA", "RGBA").view(">u2").astype(np.uint16)
    return Deep(values, _said_bits(content, values))


def without_tags(content: bytes) -> bytes:
    """The same picture without what no pixel depends on, nor which side is up."""
    if content.startswith(PNG_MARK):
        return PNG_MARK + b"".join(
            content[start:end] for name, start, end in png_parts(content) if name not in PNG_TAGS
        )
    if content.startswith(JPEG_MARK):
        return JPEG_MARK + b"".join(
            content[start:end] for name, start, end in jpeg_parts(content) if name not in JPEG_TAGS
        )
    return content


def image_parts(content: bytes) -> Iterator[object]:
    """One for each part of a picture, and one for each few bytes that fill the space in front of a part."""
    if content.startswith(PNG_MARK):
        yield from png_parts(content)
    if content.startswith(JPEG_MARK):
        place = len(JPEG_MARK)
        for part in jpeg_parts(content):
            yield part
            yield from range((part[1] - place) // JPEG_FILL_BYTES)
            place = part[2]
        yield from _jpeg_parts_behind_pixels(content)


def has_too_many_scans(content: bytes) -> bool:
    """Whether a JPEG draws over itself more often than any encoder makes it: each time takes as long as the picture."""
    scans = (name for name in _jpeg_parts_behind_pixels(content) if name == JPEG_START_OF_SCAN)
    return sum(1 for _ in islice(scans, JPEG_MOST_SCANS)) == JPEG_MOST_SCANS


def _jpeg_parts_behind_pixels(content: bytes) -> Iterator[int]:
    """The marker of each part behind the start of the first pixels: more scans, and what these need."""
    *_, (_, place, _) = [(0, len(content), 0), *jpeg_parts(content)]
    place += len(JPEG_MARK)
    while (marker := JPEG_BEHIND_PIXELS.search(content, place)) and marker.group() != JPEG_END:
        yield content[marker.end() - 1]
        place = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")


def png_parts(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The name of each part of a PNG, and where it begins and ends."""
    place = len(PNG_MARK)
    while place + 8 <= len(content):
        size, name = struct.unpack_from(">I4s", content, place)
        yield name, place, min(len(content), place + 12 + size)
        place += 12 + size


def jpeg_parts(content: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker of each part of a JPEG, and where it begins and ends; the last is all from the start of its pixels."""
    place = len(JPEG_MARK)
    while (marker := JPEG_MARKER.search(content, place)) and marker.end() < len(content) - 2:
        name, behind = content[marker.end() - 1], marker.end()
        if name == JPEG_START_OF_SCAN:
            yield name, marker.start(), len(content)
            return
        place = behind + int.from_bytes(content[behind : behind + 2], "big")
        yield name, marker.start(), place


def has_all_rows(content: bytes, image: Image.Image) -> bool:
    """Whether a PNG holds as many rows as its header says: Pillow leaves those that are missing black, without a word.

    Counted only where the last row is black, or the rows stand in seven passes.
    """
    header = content[len(PNG_MARK) + 8 :]
    width, height, depth, colour, _, _, passes = struct.unpack(">IIBBBBB", header[:13])
    if not passes and np.asarray(image)[-1].any():
        return True
    expected = sum(
        rows * (1 + -(-columns * depth * PNG_CHANNELS[colour] // 8))
        for left, top, right, down in (PNG_PASSES if passes else PNG_WHOLE)
        if (columns := -(-(width - left) // right)) > 0 and (rows := -(-(height - top) // down)) > 0
    )
    found, inflating = 0, zlib.decompressobj()
    for name, start, end in png_parts(content):
        packed = content[start + 8 : end - 4] if name == b"IDAT" else b""
        while packed and found < expected:
            found += len(inflating.decompress(packed, BLOCK_BYTES))
            packed = inflating.unconsumed_tail
    return bool(found >= expected)


def longer_jpeg(content: bytes, image: Image.Image) -> bytes | None:
    """The JPEG with more pixels than its header asks for; None where there is no need to look at them.

    If all pixels were there, these are left out. If not, they stand where libjpeg put grey ones or coarse ones: of a
    picture that was cut off and got an end mark afterwards.
    """
    corner = np.atleast_1d(np.asarray(image)[-1, -1])
    is_grey = bool(((corner == 127) | (corner == 128)).all())
    if not is_grey and not any(name in JPEG_PROGRESSIVE for name, _, _ in jpeg_parts(content)):
        return None
    start = next(start for name, start, _ in jpeg_parts(content) if name == JPEG_START_OF_SCAN)
    end = content.find(JPEG_END, start)
    return content[:end] + MORE_PIXELS + content[end:]


def holds_several(content: bytes) -> bool:
    """Whether another picture of the same form follows the one that is read, which does not say so.

    Phones put previews, depths and brightness behind a JPEG, and list them.
    """
    if content.startswith(PNG_MARK):
        end = next((end for name, _, end in png_parts(content) if name == b"IEND"), len(content))
        return content.startswith(PNG_MARK, end)
    if content.startswith(JPEG_MARK):
        parts = list(jpeg_parts(content))
        end = content.find(JPEG_END, parts[-1][1]) if parts else -1
        is_listed = any(
            mark in content[start:end] for name, start, end in parts if name in JPEG_TAGS for mark in JPEG_LISTS
        )
        return end >= 0 and content.startswith(JPEG_MARK, end + len(JPEG_END)) and not is_listed
    return content.startswith(WEBP_MARK, 8 + int.from_bytes(content[4:8], "little"))


def _decoded_as(content: bytes, how: str, mode: str) -> Values:
    image = Image.open(io.BytesIO(content), formats=("PNG",))
    image._mode = mode
    image.tile = [tile._replace(args=how) for tile in image.tile]
    return np.asarray(image)


def _said_bits(content: bytes, values: Values) -> int | None:
    """By the part sBIT. Its writers put values of 12 bits into the upper ones, as PNG asks, or into the lower ones."""
    said = next((content[start + 8 : end - 4] for name, start, end in png_parts(content) if name == b"sBIT"), b"")
    bits = max(said[: _colours(values)[0, 0].size], default=0)
    if not 0 < bits <= FULL_BITS:
        return None
    colours = _colours(values)
    is_low = colours.max() < 1 << bits and (colours & ((1 << (FULL_BITS - bits)) - 1)).any()
    return max(SHOWN_BITS, bits) if is_low else FULL_BITS


def _colours(values: Values) -> Values:
    return values[..., :-1] if values.ndim == 3 and values.shape[2] in (2, 4) else values
