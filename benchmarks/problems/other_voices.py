"""Telephone prompts of one voice, and of another, with the same labels.

Debian's asterisk-core-sounds-{es,fr,it}-wav, asterisk-prompt-it-menardi-wav, asterisk-prompt-es-co and
asterisk-prompt-fr-armelle; the last two hold GSM alone.
"""

import io
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.problems.real_sets import SOUNDS, holds_nothing
from graftline.models.preprocessing import Raw

# Spanish, French and Italian.
VOICES, OTHERS = ("es_MX_f_Allison", "fr_CA_f_June", "it_IT_m_Carlo"), ("es", "fr", "it_IT_f_Menardi")
# Of a telephone: samples per second, and frames of so many bytes as GSM 06.10 has them.
RATE = 8000
# What is shorter than this many seconds is a click or a part of a word.
SHORTEST_SECONDS = 0.2
MOST_OF_A_VOICE = 250

Labelled = tuple[list[Raw], list[int]]


def spoken_languages(packages: Path) -> tuple[Labelled, Labelled]:
    """Prompts in three languages, each of one voice, then of another one and over GSM: which language it is."""
    return _languages(packages, VOICES), _languages(packages, OTHERS)


def _languages(packages: Path, voices: tuple[str, ...]) -> Labelled:
    rows = [
        (raw, label) for label, voice in enumerate(voices) for raw in _sounds(packages, voice, gsm=voices == OTHERS)
    ]
    return [raw for raw, _ in rows], [label for _, label in rows]


def _sounds(packages: Path, voice: str, *, gsm: bool) -> Iterator[bytes]:
    """WAV files of one voice that hold speech, in random order; heard over GSM if so asked."""
    root = packages / SOUNDS / voice
    paths = [path for path in sorted((*root.rglob("*.wav"), *root.rglob("*.gsm"))) if "silence" not in path.parts]
    random.Random(0).shuffle(paths)  # noqa: S311 - nothing secret is drawn
    for path in [path for path in paths if not holds_nothing(path.read_bytes())][:MOST_OF_A_VOICE]:
        samples = _of_gsm(path.read_bytes()) if path.suffix == ".gsm" else _of_wav(path, gsm=gsm)
        if len(samples) >= SHORTEST_SECONDS * RATE:
            yield _wav(samples)


def _of_wav(path: Path, *, gsm: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE:
        raise ValueError(f"{path} has {rate} samples per second, expected {RATE}")
    if not gsm:
        return np.asarray(samples)
    sent = io.BytesIO()
    soundfile.write(sent, samples, RATE, format="RAW", subtype="GSM610")
    return _of_gsm(sent.getvalue())


def _of_gsm(content: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    samples, _ = soundfile.read(
        io.BytesIO(content), format="RAW", subtype="GSM610", samplerate=RATE, channels=1, dtype="float32"
    )
    return np.asarray(samples)


def _wav(samples: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, RATE, format="WAV", subtype="PCM_16")
    return content.getvalue()
