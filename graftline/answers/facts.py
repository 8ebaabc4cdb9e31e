"""What can be said of an input without a model, and cheaply: its digest, its size and the like."""

import hashlib
import io
from collections.abc import Callable, Mapping

from PIL import Image

from graftline.data.sounds import sound_seconds
from graftline.models.media import Medium
from graftline.models.preprocessing import Raw
from graftline.settings import Kind


def content_of(raw: Raw) -> bytes:
    """The bytes of an input; of a text as UTF-8."""
    if isinstance(raw, Medium):
        return raw.read()
    # Half of a surrogate pair is in no UTF-8, but JSON can hold it.
    return str(raw).encode(errors="surrogatepass")


def digest_of(raw: Raw) -> str:
    """The sha256 of these bytes."""
    return hashlib.sha256(content_of(raw)).hexdigest()


def facts_of(raw: Raw, kind: Kind) -> dict[str, float]:
    """Facts about an input by their names; sizes in bytes, pixels and seconds, shares of characters from 0 to 1.

    Of an image or sound that cannot be read only its bytes.
    """
    content = content_of(raw)
    try:
        return {"bytes": float(len(content)), **_FACTS[kind](raw, content)}
    except (ValueError, OSError):
        return {"bytes": float(len(content))}


def _of_text(raw: Raw, _: bytes) -> Mapping[str, float]:
    text = str(raw)
    shares = {
        "share_ascii": sum(map(str.isascii, text)),
        "share_letters": sum(map(str.isalpha, text)),
        "share_digits": sum(map(str.isdigit, text)),
        "share_capitals": sum(map(str.isupper, text)),
    }
    return {
        "characters": float(len(text)),
        "words": float(len(text.split())),
        **{name: count / max(1, len(text)) for name, count in shares.items()},
    }


def _of_image(_: Raw, content: bytes) -> Mapping[str, float]:
    with Image.open(io.BytesIO(content)) as picture:  # its header alone
        return {"width": float(picture.width), "height": float(picture.height)}


def _of_sound(_: Raw, content: bytes) -> Mapping[str, float]:
    return {"seconds": sound_seconds(content)}


_FACTS: Mapping[Kind, Callable[[Raw, bytes], Mapping[str, float]]] = {
    "text": _of_text,
    "image": _of_image,
    "audio": _of_sound,
}
