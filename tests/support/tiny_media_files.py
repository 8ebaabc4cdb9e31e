"""Folders of class folders, of a few kilobytes: pictures and sounds of two classes that a tiny network tells apart."""

import random
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

IMAGE_LABELS = ("disc", "stripes")
SOUND_LABELS = ("high", "low")
SOUND_RATE = 16_000
IMAGE_SUFFIXES, SOUND_SUFFIXES = (".png", ".jpg"), (".wav", ".flac")


def write_tiny_images(folder: Path, rows: int, seed: int = 0) -> None:
    """`rows` PNG and JPEG pictures of 24 to 40 pixels, classes in turn: a bright disc, or stripes, both in noise."""
    drawn = random.Random(seed)
    for number in range(rows):
        label = IMAGE_LABELS[number % 2]
        path = folder / label / f"{number:04}{drawn.choice(IMAGE_SUFFIXES)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        tiny_image(label, drawn.randrange(2**32)).save(path, quality=90)


def tiny_image(label: str, seed: int) -> Image.Image:
    """One picture of a class."""
    random = np.random.default_rng(seed)
    height, width = random.integers(24, 41, 2)
    down, right = np.ogrid[:height, :width]
    if label == "disc":
        middle_down, middle_right = random.uniform(0.3, 0.7, 2) * (height, width)
        shape = (down - middle_down) ** 2 + (right - middle_right) ** 2 < random.uniform(6, 9) ** 2
    else:
        shape = (right + random.integers(0, 6) + 0 * down) % 6 < 3
    grey = np.where(shape, 200, 50)[..., None] * random.uniform(0.9, 1.1, 3) + random.normal(0, 15, (height, width, 3))
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def write_tiny_sounds(folder: Path, rows: int, seed: int = 0) -> None:
    """`rows` WAV and FLAC sounds of 0.2 to 0.5 s at 16 kHz, classes in turn: a high or a low tone, both in noise."""
    drawn = random.Random(seed)
    for number in range(rows):
        label = SOUND_LABELS[number % 2]
        path = folder / label / f"{number:04}{drawn.choice(SOUND_SUFFIXES)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tiny_sound(label, drawn.randrange(2**32)), SOUND_RATE)


def tiny_sound(label: str, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The samples of one sound of a class, (frames,)."""
    random = np.random.default_rng(seed)
    seconds = np.arange(int(SOUND_RATE * random.uniform(0.2, 0.5))) / SOUND_RATE
    hertz = random.uniform(1500, 2500) if label == "high" else random.uniform(150, 300)
    tone = random.uniform(0.2, 0.5) * np.sin(2 * np.pi * hertz * seconds)
    return (tone + random.normal(0, 0.02, len(seconds))).astype(np.float32)
