"""Images and sounds as a page shows them: decoded, made small, and encoded again. No byte of a file gets there."""

import base64
import io

THUMBNAIL_SIDE = 176
JPEG_QUALITY = 80
# Enough to hear what it is.
SOUND_SECONDS, SOUND_RATE = 4.0, 16_000


def image_address(content: bytes, *, sample_bits: int = 16) -> str:
    """A small picture of an image, as a data address. Raises: ValueError if it cannot be decoded."""
    from PIL import Image

    from graftline.data.images import decode_image

    picture = decode_image(content, sample_bits=sample_bits)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    # Pillow writes comments and profiles of the file into the new one as well.
    picture.info.clear()
    encoded = io.BytesIO()
    picture.save(encoded, format="JPEG", quality=JPEG_QUALITY)
    return _address("image/jpeg", encoded.getvalue())


def sound_address(content: bytes) -> str:
    """The beginning of a sound, as a data address. Raises: ValueError if it cannot be decoded."""
    import soundfile

    from graftline.data.sounds import decode_sound

    samples = decode_sound(content, SOUND_RATE)[: int(SOUND_SECONDS * SOUND_RATE)]
    encoded = io.BytesIO()
    soundfile.write(encoded, samples.clip(-1, 1), SOUND_RATE, format="WAV", subtype="PCM_16")
    return _address("audio/wav", encoded.getvalue())


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
