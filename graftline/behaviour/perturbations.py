"""Changes of an input that no label depends on, for each kind of input."""

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from graftline.models.media import Medium
from graftline.models.preprocessing import Raw
from graftline.settings import Kind

if TYPE_CHECKING:
    from PIL.Image import Image

    from graftline.data.sounds import Samples

# One input and a source of random numbers to the changed input.
Change = Callable[[Raw, np.random.Generator], Raw]

# One word in ten, and at least one of a text, has two letters in the wrong order; shorter words have none to spare.
TYPO_SHARE, TYPO_LETTERS = 0.1, 4
# A camera's exposure, a lens slightly out of focus, an object a little beside the middle.
LIGHT, BLUR_SHARE, SHIFT_SHARE = 0.2, 0.01, 0.05
# Twice and half as loud; white noise that one hears in a quiet room; a sound that was sampled at a lower rate.
GAIN_DECIBELS, NOISE_DECIBELS = 6.0, 30.0
RATE, LOWER_RATE = 16_000, 12_000


def changes_of(kind: Kind, *, sample_bits: int = 16) -> Mapping[str, Change]:
    """The changes of inputs of a kind, by name. Those of media take what a preprocessor takes, and give bytes.

    `sample_bits` as the model reads pictures with.
    """
    if kind == "text":
        return {
            "lower case": lambda text, _: text.lower(),
            "upper case": lambda text, _: text.upper(),
            "typos": _with_typos,
            "more whitespace": lambda text, _: f"  {'  '.join(text.split(' '))}\n",
        }
    if kind == "image":
        return {
            "darker": lambda raw, _: _relit(_picture(raw, sample_bits), 1 - LIGHT),
            "brighter": lambda raw, _: _relit(_picture(raw, sample_bits), 1 + LIGHT),
            "blurred": lambda raw, _: _blurred(_picture(raw, sample_bits)),
            "shifted": lambda raw, random: _shifted(_picture(raw, sample_bits), random),
        }
    return {
        "softer": lambda raw, _: _with_gain(_content(raw), -GAIN_DECIBELS),
        "louder": lambda raw, _: _with_gain(_content(raw), GAIN_DECIBELS),
        "noise": lambda raw, random: _with_noise(_content(raw), random),
        "resampled": lambda raw, _: _resampled(_content(raw)),
    }


def _content(raw: Raw) -> bytes:
    return raw.read() if isinstance(raw, Medium) else bytes(raw)


def _with_typos(text: str, random: np.random.Generator) -> str:
    """Inner letters next to each other exchanged, in some words."""
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if len(word) >= TYPO_LETTERS and word.isalpha()]
    if not long:
        return text
    for place in random.choice(long, max(1, round(TYPO_SHARE * len(long))), replace=False).tolist():
        word = words[place]
        at = int(random.integers(1, len(word) - 2))
        words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def _picture(raw: Raw, sample_bits: int) -> "Image":
    from graftline.data.images import decode_image

    return decode_image(_content(raw), sample_bits=sample_bits)


def _relit(picture: "Image", brightness: float) -> bytes:
    from PIL import ImageEnhance

    return _png(ImageEnhance.Brightness(picture).enhance(brightness))


def _blurred(picture: "Image") -> bytes:
    from PIL import ImageFilter

    return _png(picture.filter(ImageFilter.GaussianBlur(max(0.5, BLUR_SHARE * min(picture.size)))))


def _shifted(picture: "Image", random: np.random.Generator) -> bytes:
    """Moved to one side and up or down; the edge is repeated where nothing was."""
    from PIL.Image import fromarray

    pixels = np.asarray(picture)
    height, width = pixels.shape[:2]
    down, right = (int(random.choice([-1, 1])) * max(1, round(SHIFT_SHARE * side)) for side in (height, width))
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return _png(fromarray(pixels[rows][:, columns]))


def _png(picture: "Image") -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def _with_gain(content: bytes, decibels: float) -> bytes:
    return _wav(_samples(content) * np.float32(10 ** (decibels / 20)), RATE)


def _with_noise(content: bytes, random: np.random.Generator) -> bytes:
    samples = _samples(content)
    level = float(np.sqrt(np.mean(np.square(samples), dtype=np.float64))) * 10 ** (-NOISE_DECIBELS / 20)
    return _wav(samples + random.standard_normal(len(samples), dtype=np.float32) * np.float32(level), RATE)


def _resampled(content: bytes) -> bytes:
    from graftline.data.sounds import decode_sound

    return _wav(decode_sound(content, LOWER_RATE), LOWER_RATE)


def _samples(content: bytes) -> "Samples":
    from graftline.data.sounds import decode_sound

    return decode_sound(content, RATE)


def _wav(samples: "Samples", rate: int) -> bytes:
    """As floats, so that what is louder than full scale is not clipped."""
    import soundfile

    content = io.BytesIO()
    soundfile.write(content, samples, rate, format="WAV", subtype="FLOAT")
    return content.getvalue()
