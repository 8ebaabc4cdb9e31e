"""An image is decoded whole, upright and as RGB, or refused with a reason."""

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from pydantic import ValidationError

from graftline.data.image_containers import PNG_MARK
from graftline.data.images import MAX_ASPECT, MAX_PIXELS, UnreadableImageError, _has_end, decode_image, image_facts
from graftline.settings import DataSettings
from tests.support.tiny_media_files import tiny_image

PICTURE = tiny_image("disc", 0)
ORIENTATION = 0x0112


def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, format=kind, **options)
    return content.getvalue()


def png_of_nothing(width: int, height: int) -> bytes:
    """A few hundred bytes that claim to be a black and white picture of this size."""

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return PNG_MARK + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


KINDS = {
    "png": stored(PICTURE),
    "jpeg": stored(PICTURE, "JPEG"),
    "progressive jpeg": stored(PICTURE, "JPEG", progressive=True),
    "webp": stored(PICTURE, "WEBP"),
    "lossless webp": stored(PICTURE, "WEBP", lossless=True),
}


def chunk(name: bytes, content: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of(
    values: Any, *, said_bits: int = 0, rows: int | None = None, passes: bool = False, left_out: int = 0
) -> bytes:
    """A PNG of these values, of 8 or 16 bits a sample; `rows` of them are in it, or all passes but those left out."""
    values = np.asarray(values)
    channels = 1 if values.ndim == 2 else values.shape[2]
    height, width = values.shape[:2]
    depth = 8 * values.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, depth, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, passes)
    steps = ((0, 0, 8), (4, 0, 8), (0, 4, 4), (2, 0, 4), (0, 2, 2), (1, 0, 2), (0, 1, 1))
    downs = (8, 8, 8, 4, 4, 2, 2)
    parts = [values[top::down, left::right] for (left, top, right), down in zip(steps, downs, strict=True)]
    parts = [part for part in parts[: len(parts) - left_out] if part.size] if passes else [values[:rows]]
    lines = b"".join(b"\0" + line.astype(f">u{depth // 8}").tobytes() for part in parts for line in part)
    said = chunk(b"sBIT", bytes([said_bits] * channels)) if said_bits else b""
    return PNG_MARK + chunk(b"IHDR", header) + said + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def with_part(png: bytes, name: bytes, content: bytes) -> bytes:
    """The PNG with one more part, in front of its pixels."""
    place = png.index(b"IDAT") - 4
    return png[:place] + chunk(name, content) + png[place:]


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures' pixels, in steps of 255."""
    assert (one.mode, other.mode) == ("RGB", "RGB")
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_comes_back_in_every_format(kind: str) -> None:
    assert mean_difference(decode_image(KINDS[kind]), PICTURE) <= (0 if "png" in kind or "less" in kind else 12)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "I;16"])
def test_every_way_to_store_a_pixel_becomes_rgb(mode: str) -> None:
    grey = Image.fromarray(np.where(np.arange(24 * 32).reshape(24, 32) % 32 < 16, 255, 0).astype(np.uint8))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = grey.convert("RGB" if mode == "PA" else mode)
        image = image.convert("RGBA").quantize(2) if mode == "PA" else image
    content = stored(image, "JPEG" if mode == "CMYK" else "PNG")
    assert mean_difference(decode_image(content), grey.convert("RGB")) < 2


def test_what_is_transparent_becomes_white() -> None:
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    half.paste((200, 0, 0, 255), (0, 0, 4, 8))
    palette = half.quantize(4)
    for content in (stored(half), stored(half, "WEBP", lossless=True), stored(palette)):
        decoded = decode_image(content)
        assert (decoded.getpixel((0, 0)), decoded.getpixel((7, 7))) == ((200, 0, 0), (255, 255, 255))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_as_its_exif_says(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (40, 24), "white")
    upright.paste("black", (0, 0, 20, 12))
    # How a camera that was held this way stores it: the inverse of what a viewer has to do.
    how = {
        2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE",
        8: "ROTATE_270",
    }  # fmt: skip
    held = upright if orientation == 1 else upright.transpose(Image.Transpose[how[orientation]])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = stored(held, kind, exif=exif)
    assert decode_image(content).size == (40, 24)
    assert mean_difference(decode_image(content), upright) < 3
    assert (image_facts(content).width, image_facts(content).height) == (40, 24)


def test_a_phones_picture_with_a_second_one_in_it_is_a_jpeg() -> None:
    content = stored(PICTURE, "MPO", save_all=True, append_images=[tiny_image("stripes", 1)])
    assert mean_difference(decode_image(content), PICTURE) < 12
    assert image_facts(content).format == "JPEG"


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_is_cut_off_anywhere_is_refused(kind: str) -> None:
    content = KINDS[kind]
    # A PNG's last chunk says only that it is the end; without it all pixels are there.
    for length in range(0, len(content) - 12, 7):
        with pytest.raises(UnreadableImageError):
            decode_image(content[:length])


@pytest.mark.parametrize("kind", ["png", "jpeg", "progressive jpeg"])
def test_a_download_that_was_cut_and_filled_with_zeros_is_refused(kind: str) -> None:
    content = KINDS[kind]
    for share in (0.3, 0.5, 0.9, 0.99):
        with pytest.raises(UnreadableImageError, match=r"damaged|cut off"):
            decode_image(content[: int(share * len(content))] + bytes(5000))


def test_a_preview_inside_a_jpeg_does_not_stand_in_for_its_end() -> None:
    content = stored(PICTURE, "JPEG", comment=KINDS["jpeg"])
    assert mean_difference(decode_image(content), PICTURE) < 12
    with pytest.raises(UnreadableImageError, match="cut off: the JPEG has no end mark"):
        decode_image(content[:-2] + bytes(5000))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_that_were_joined_to_one_file_are_refused(kind: str) -> None:
    one, other = (stored(tiny_image(label, 1), kind) for label in ("disc", "stripes"))
    with pytest.raises(UnreadableImageError, match="holds several pictures, of which only one would be read"):
        decode_image(one + other)
    assert decode_image(one + b"from a camera" + other).size == decode_image(one).size


def test_what_fills_the_space_between_the_parts_of_a_jpeg_changes_nothing() -> None:
    content = KINDS["jpeg"]
    filled = content[:2] + b"\xff" * 3000 + content[2:]
    assert mean_difference(decode_image(filled), decode_image(content)) == 0
    with pytest.raises(UnreadableImageError, match="cut off: the JPEG has no end mark"):
        decode_image(filled[:-2] + bytes(5000))


def has_end_byte_by_byte(content: bytes) -> bool:
    place = 2
    while place < len(content) - 4:
        if content[place] != 0xFF or content[place + 1] == 0xFF:
            place += 1
        elif content[place + 1] == 0xDA:
            return b"\xff\xd9" in content[place:]
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return False


@pytest.mark.full
@given(st.lists(st.sampled_from([0xFF, 0xDA, 0xD9, 0x0A, 0, 1, 2, 5]), max_size=40).map(bytes))
@example(b"\xff\xd8" + b"\xff" * 20 + b"\xda\0\0\xff\xd9")
@settings(max_examples=1000, deadline=None)
def test_the_end_of_a_jpeg_is_found_as_byte_by_byte(content: bytes) -> None:
    assert _has_end(content) == has_end_byte_by_byte(content)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_the_parts_of_a_picture_are_looked_through_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    really_open = Image.open

    def counted(*arguments: Any, **options: Any) -> ImageFile.ImageFile:
        opened.append(kind)
        return really_open(*arguments, **options)

    monkeypatch.setattr(Image, "open", counted)
    decode_image(KINDS[kind])
    assert opened == [kind]


JPEG, PNG = KINDS["jpeg"], KINDS["png"]
IN_SCANS = KINDS["progressive jpeg"]
LAST_SCAN = IN_SCANS[IN_SCANS.rindex(b"\xff\xda") : -2]


@pytest.mark.parametrize("content", [
    PNG[:33] + 2_000 * chunk(b"teXt", b"") + PNG[33:],
    JPEG[:2] + 2_000 * b"\xff\xfe\0\2" + JPEG[2:],
    JPEG[:2] + 20_000 * b"\xff" + JPEG[2:],
    IN_SCANS[:-2] + 2_000 * b"\xff\xfe\0\2" + LAST_SCAN + b"\xff\xd9",
    IN_SCANS[:-2] + 200 * LAST_SCAN + b"\xff\xd9",
])  # fmt: skip
def test_a_small_file_that_would_take_minutes_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableImageError, match=r"than any (picture|JPEG) needs"):
        decode_image(content)


def test_a_picture_with_many_comments_and_scans_is_a_picture() -> None:
    commented = decode_image(IN_SCANS[:2] + 500 * b"\xff\xfe\0\2" + IN_SCANS[2:])
    assert commented.tobytes() == decode_image(IN_SCANS).tobytes()


@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2, "quality": 40}])
def test_a_jpeg_that_was_cut_off_and_closed_again_is_refused(options: dict[str, Any], share: float) -> None:
    content = stored(PICTURE.resize((160, 120)), "JPEG", **options)
    assert decode_image(content).size == (160, 120)
    start = content.rindex(b"\xff\xda")
    with pytest.raises(UnreadableImageError, match="cut off: its pixels end before the picture does"):
        decode_image(content[: start + int(share * (len(content) - start))] + b"\xff\xd9")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [True, False])
def test_a_jpeg_that_is_grey_where_it_ends_is_a_picture(mode: str, progressive: bool) -> None:
    grey = PICTURE.copy()
    grey.paste((128, 128, 128), (0, grey.height // 2, *grey.size))
    content = stored(grey.convert(mode), "JPEG", progressive=progressive)
    assert decode_image(content).size == grey.size


@pytest.mark.parametrize("passes", [True, False])
def test_a_png_without_its_last_rows_is_refused(passes: bool) -> None:
    values = np.asarray(PICTURE)
    assert np.array_equal(np.asarray(decode_image(png_of(values, passes=passes))), values)
    short = png_of(values, passes=True, left_out=1) if passes else png_of(values, rows=len(values) - 1)
    with pytest.raises(UnreadableImageError, match="cut off: its rows end before the picture does"):
        decode_image(short)


@pytest.mark.parametrize("passes", [True, False])
def test_a_png_that_is_black_where_it_ends_is_a_picture(passes: bool) -> None:
    values = np.asarray(PICTURE).copy()
    values[-3:] = 0
    assert np.array_equal(np.asarray(decode_image(png_of(values, passes=passes))), values)


PROFILE = b"profile\0\0" + zlib.compress(bytes(2_000_000))
WORDS = b"Comment\0\0" + zlib.compress(b"word " * 400_000)


@pytest.mark.parametrize("name", [b"iCCP", b"zTXt"])
@pytest.mark.parametrize("at", ["in front of the pixels", "behind them"])
def test_a_png_with_a_large_profile_or_text_is_a_picture(name: bytes, at: str) -> None:
    part = PROFILE if name == b"iCCP" else WORDS
    png = KINDS["png"]
    content = with_part(png, name, part) if at.startswith("in") else png[:-12] + chunk(name, part) + png[-12:]
    assert mean_difference(decode_image(content), PICTURE) == 0


def test_a_broken_comment_damages_no_pixel() -> None:
    content = with_part(KINDS["png"], b"tEXt", b"Comment\0some words")
    assert mean_difference(decode_image(content.replace(b"some", b"none")), PICTURE) == 0


def exif_of(*tags: tuple[int, int, int, int], order: str = ">") -> bytes:
    """EXIF of these tags: number, type, count, and value or place of the value."""
    entries = b"".join(struct.pack(f"{order}HHII", *tag) for tag in sorted(tags))
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}IH", 8, len(tags))
    return b"Exif\0\0" + head + entries + bytes(4) + struct.pack(f"{order}8I", 1, 0, 3, 7, 0, 0, 2, 1)


# A type that does not belong to the tag, a place outside, a count without end: none of them says which side is up.
ODD_TAGS = [
    (0x010F, 5, 1, 38), (0x0110, 10, 2, 38), (0x011A, 2, 4, 0x61626300), (0x0128, 12, 3, 38), (0x8769, 2, 200, 38),
    (0x0131, 5, 2**31, 38), (0x927C, 99, 1, 0), (0x8825, 5, 1, 2**32 - 1), (0x9286, 3, 0, 0),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("odd", ODD_TAGS)
def test_an_odd_tag_damages_no_picture_and_turns_none(kind: str, odd: tuple[int, int, int, int]) -> None:
    content = stored(PICTURE, kind, exif=exif_of((ORIENTATION, 3, 1, 6 << 16), odd))
    assert decode_image(content).size == (PICTURE.height, PICTURE.width)
    assert (image_facts(content).width, image_facts(content).height) == (PICTURE.height, PICTURE.width)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("value", [(2, 2, 0x36000000), (5, 1, 2**32 - 1), (3, 1, 99 << 16), (7, 4, 6), (3, 0, 6)])
def test_which_side_is_up_is_not_read_from_what_nobody_can_read(value: tuple[int, int, int]) -> None:
    assert decode_image(stored(PICTURE, "JPEG", exif=exif_of((ORIENTATION, *value)))).size == PICTURE.size


@pytest.mark.parametrize("error", [AttributeError("no such tag"), RuntimeError(), RecursionError("deep")])
def test_whatever_a_decoder_raises_is_the_fault_of_the_file(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", broken)
    with pytest.raises(UnreadableImageError, match=r"damaged or cut off \((no such tag|RuntimeError|deep)\)"):
        decode_image(KINDS["jpeg"])


TWELVE_BITS = np.random.default_rng(0).integers(0, 2**12, (30, 40, 3)).astype(np.uint16)


def levels(content: bytes, *, sample_bits: int = 16) -> int:
    """How many of 256 grey levels a picture has once it is decoded."""
    return len(np.unique(np.asarray(decode_image(content, sample_bits=sample_bits))))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_picture_of_16_bits_keeps_the_levels_of_the_bits_that_it_uses(channels: int) -> None:
    values = np.concatenate([TWELVE_BITS, np.full((30, 40, 1), 2**16 - 1, np.uint16)], axis=2)
    values = {1: values[..., 0], 2: values[..., 2:], 3: values[..., :3], 4: values}[channels]
    assert image_facts(png_of(values)).used_bits == 12
    assert levels(png_of(values), sample_bits=12) > 240 > 20 > levels(png_of(values))
    for aligned in (values, np.minimum(values.astype(int) << 4, 2**16 - 1).astype(np.uint16)):
        # It says so itself, in the manner that PNG asks for and in the other one.
        assert levels(png_of(aligned, said_bits=12)) > 240
        assert image_facts(png_of(aligned, said_bits=12)).used_bits is None


def test_a_picture_of_larger_values_than_the_others_is_as_bright_as_these_say() -> None:
    values = TWELVE_BITS << 2
    assert np.array_equal(np.asarray(decode_image(png_of(values), sample_bits=12)), values >> 6)


def test_8_bits_in_a_file_of_16_are_not_of_one_colour() -> None:
    content = png_of((TWELVE_BITS >> 4)[..., 0])
    assert image_facts(content).is_constant
    facts = image_facts(content, sample_bits=8)
    assert (facts.is_constant, facts.used_bits) == (False, 8)
    assert facts.sha256 == image_facts(png_of((TWELVE_BITS >> 4)[..., 0].astype(np.uint8))).sha256


def test_a_changed_byte_in_a_png_is_noticed() -> None:
    content = bytearray(KINDS["png"])
    for place in range(60, len(content) - 20, 11):
        content[place] ^= 1
        with pytest.raises(UnreadableImageError, match="damaged"):
            decode_image(bytes(content))
        content[place] ^= 1


@given(kind=st.sampled_from(list(KINDS)), changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255))))
@settings(max_examples=400, deadline=None)
def test_damage_is_decoded_or_refused_but_never_another_error(kind: str, changes: list[tuple[int, int]]) -> None:
    content = bytearray(KINDS[kind])
    for place, value in changes:
        # Early bytes more often: headers are where decoders trip.
        content[place % (len(content) if place % 2 else 60)] = value
    with contextlib.suppress(UnreadableImageError):
        assert decode_image(bytes(content)).mode == "RGB"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(40_000, 40_000), (20_000, 5_000), (50_000_001, 1)])
def test_a_bomb_is_refused_before_it_is_decoded(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    with pytest.raises(UnreadableImageError, match=r"too large.*expected at most 50,000,000"):
        decode_image(png_of_nothing(*size))


@pytest.mark.parametrize("size", [(16_000, 1), (1, 16_000), (10 * MAX_ASPECT + 1, 10)])
def test_a_line_is_refused_before_a_model_makes_gigabytes_of_it(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = stored(Image.new("RGB", size))
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    with pytest.raises(
        UnreadableImageError, match=rf"too narrow: {size[0]:,} x {size[1]:,} pixels, expected at most 20 times as many"
    ):
        decode_image(content)


def test_a_long_panorama_is_a_picture() -> None:
    assert decode_image(stored(Image.new("RGB", (10 * MAX_ASPECT, 10)))).size == (10 * MAX_ASPECT, 10)


def test_no_setting_accepts_a_picture_that_training_would_not_decode() -> None:
    row = {"path": "data/photos", "kind": "image"}
    assert DataSettings.model_validate(row | {"max_pixels": MAX_PIXELS}).max_pixels == MAX_PIXELS
    with pytest.raises(ValidationError, match="less than or equal to 50000000"):
        DataSettings.model_validate(row | {"max_pixels": MAX_PIXELS + 1})


def test_the_bound_on_pixels_can_be_chosen() -> None:
    pixels = PICTURE.width * PICTURE.height
    assert decode_image(KINDS["png"], max_pixels=pixels).size == PICTURE.size
    with pytest.raises(UnreadableImageError, match=f"expected at most {pixels - 1:,}"):
        decode_image(KINDS["png"], max_pixels=pixels - 1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"these are words, not pixels", "no readable PNG, JPEG or WebP image: it begins with b'these are wo'"),
        (stored(PICTURE, "GIF"), "no readable PNG, JPEG or WebP image: it is a GIF picture; convert it"),
        (stored(PICTURE, "TIFF"), "no readable PNG, JPEG or WebP image: it is a TIFF picture; convert it"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no readable PNG, JPEG or WebP image"),
    ],
)
def test_what_is_no_image_is_refused_by_what_it_begins_with(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError) as caught:
        decode_image(content)
    assert str(caught.value).startswith(reason)


def test_the_same_picture_in_two_lossless_files_has_the_same_digest() -> None:
    facts = [image_facts(KINDS[kind]) for kind in ("png", "lossless webp", "jpeg")]
    assert facts[0].sha256 == facts[1].sha256 != facts[2].sha256
    assert [(one.format, one.mode) for one in facts] == [("PNG", "RGB"), ("WEBP", "RGB"), ("JPEG", "RGB")]


def test_a_reshaped_picture_is_another_picture() -> None:
    one, other = (image_facts(stored(Image.new("RGB", size))) for size in ((4, 6), (6, 4)))
    assert one.sha256 != other.sha256
    assert one.is_constant
    assert not image_facts(KINDS["png"]).is_constant


def test_the_perceptual_hash_survives_size_and_compression_and_tells_pictures_apart() -> None:
    def distance(one: bytes, other: bytes) -> int:
        return (image_facts(one).perceptual_hash ^ image_facts(other).perceptual_hash).bit_count()

    large = PICTURE.resize((400, 300))
    others = [stored(tiny_image(label, seed).resize((400, 300))) for label in ("disc", "stripes") for seed in (1, 2)]
    assert distance(stored(large), stored(large.resize((200, 150)), "JPEG", quality=80)) <= 16
    assert min(distance(stored(large), other) for other in others) > 40


def test_a_machine_without_memory_is_no_fault_of_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    content = io.BytesIO()
    Image.linear_gradient("L").save(content, "PNG")
    monkeypatch.setattr(Image.Image, "convert", full)
    with pytest.raises(MemoryError):
        decode_image(content.getvalue())
