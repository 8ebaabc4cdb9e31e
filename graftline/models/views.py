"""Random augmentation: each training row in a few seeded views, the same ones on every machine and in every order."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from graftline.settings.adaptation import Augmentation

if TYPE_CHECKING:
    from PIL import Image

    from graftline.data.sounds import Samples

# Goes up with any change of what a view shows: what a frozen part made of views is kept from run to run.
VIEWS_VERSION = 1
# Changes that no label can depend on. Pictures are neither mirrored nor turned (digits, letters and arrows would change
# their meaning) nor tinted (a colour may be the label); the place of the crop already shifts what is in it.
SMALLEST_AREA = 0.8
LIGHT_CHANGE = 0.2
# Sounds keep their pitch and speed; at the end to which a sound is shifted a little of it is lost.
GAIN_DECIBELS = 6.0
SHIFT_SECONDS, SHIFT_SHARE = 0.1, 0.1
# White noise so far below the sound's own level: heard in a quiet room, and no word is lost in it.
NOISE_DECIBELS = (20.0, 40.0)


@dataclass(frozen=True, slots=True)
class View:
    """One of the random views in which training sees a row. With the row's key it decides all that is random."""

    augmentation: Literal["light"]
    seed: int
    number: int

    @property
    def key_parts(self) -> list[str]:
        """Its part in the key of a row."""
        return [self.augmentation, str(VIEWS_VERSION), str(self.seed), str(self.number)]


def views_of(augmentation: Augmentation, *, seed: int, count: int) -> tuple[View, ...]:
    """The first `count` views; none without augmentation."""
    return () if augmentation == "none" else tuple(View(augmentation, seed, number) for number in range(count))


def augmented_image(picture: "Image.Image", key: str) -> "Image.Image":
    """A crop of at least 80 % of the area in the picture's own proportions, brightness and contrast within 20 %.

    `key` is the row's in this view, in hexadecimal digits. The checkpoint's own preprocessing brings the crop to size.
    """
    from PIL import ImageEnhance  # here, so that models of sounds do without Pillow

    random = np.random.default_rng(int(key, 16))
    scale = math.sqrt(random.uniform(SMALLEST_AREA, 1))
    width, height = math.ceil(picture.width * scale), math.ceil(picture.height * scale)
    left, top = int(random.integers(picture.width - width + 1)), int(random.integers(picture.height - height + 1))
    brightness, contrast = random.uniform(1 - LIGHT_CHANGE, 1 + LIGHT_CHANGE, 2).tolist()
    crop = picture.crop((left, top, left + width, top + height))
    return ImageEnhance.Contrast(ImageEnhance.Brightness(crop).enhance(brightness)).enhance(contrast)


def augmented_sound(samples: "Samples", rate: int, key: str) -> "Samples":
    """As many samples: 6 dB louder or softer, up to 0.1 s earlier or later, with noise 20 to 40 dB below the sound.

    `key` is the row's in this view, in hexadecimal digits. A sound is shifted by a tenth of its length at most; silence
    moves in. Louder than full scale is not clipped: feature extractors bring sounds to one level.
    """
    random = np.random.default_rng(int(key, 16))
    gain = 10 ** (random.uniform(-GAIN_DECIBELS, GAIN_DECIBELS) / 20)
    furthest = round(min(SHIFT_SECONDS * rate, SHIFT_SHARE * len(samples)))
    shift = int(random.integers(-furthest, furthest + 1))
    level = math.sqrt(float(np.mean(np.square(samples), dtype=np.float64)))
    noise_level = level * 10 ** (-random.uniform(*NOISE_DECIBELS) / 20)
    view = random.standard_normal(len(samples), dtype=np.float32) * np.float32(noise_level)
    if shift >= 0:
        view[shift:] += samples[: len(samples) - shift]
    else:
        view[:shift] += samples[-shift:]
    return view * np.float32(gain)
