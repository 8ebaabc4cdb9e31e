"""What a page shows of a file was decoded and encoded anew: no byte that a reader did not ask for gets there."""

import base64
import io

import numpy as np
import pytest
import soundfile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from graftline.pages.media_shown import SOUND_SECONDS, THUMBNAIL_SIDE, image_address, sound_address


def content_of(address: str, kind: str) -> bytes:
    assert address.startswith(f"data:{kind};base64,")
    return base64.b64decode(address.partition(",")[2], validate=True)


def test_an_image_becomes_a_small_jpeg_without_what_else_its_file_held() -> None:
    told, file = PngInfo(), io.BytesIO()
    told.add_text("comment", "<script>alert(1)</script>")
    pixels = np.random.default_rng(0).integers(0, 255, (600, 800, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format="PNG", pnginfo=told)
    small = content_of(image_address(file.getvalue() + b"<b>tail</b>"), "image/jpeg")
    assert b"script" not in small
    assert b"tail" not in small
    picture = Image.open(io.BytesIO(small))
    assert (picture.format, max(picture.size)) == ("JPEG", THUMBNAIL_SIDE)


def test_of_a_long_sound_the_beginning_is_heard() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(20 * 8000) / 9) / 2, 8000, format="FLAC")
    heard, rate = soundfile.read(io.BytesIO(content_of(sound_address(file.getvalue()), "audio/wav")))
    assert len(heard) / rate == SOUND_SECONDS
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.02)  # resampled


@pytest.mark.parametrize("address", [image_address, sound_address])
def test_what_cannot_be_decoded_is_not_shown(address: object) -> None:
    assert callable(address)
    with pytest.raises(ValueError, match="no readable"):
        address(b"<svg onload=alert(1)>")
