"""Sounds from bytes: decoded whole or refused with a reason, and what can be said of one without a model."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
import soxr

from graftline.data.sound_containers import MAX_FRAMES, SHOWN_BYTES, UnreadableSoundError, whole
from graftline.other_formats import what_it_is

Samples = np.ndarray[tuple[int], np.dtype[np.float32]]

# libsndfile's names; it reads much else, raw samples without any header among them.
FORMATS = ("WAV", "WAVEX", "FLAC", "OGG", "MP3")
# Ten minutes at 48 kHz are 115 MB of samples.
MAX_SECONDS = 600.0
# -60 dB of full scale: below the noise of a quiet room in any recording that holds something.
SILENCE = 0.001
# 60 dB above full scale: further than any headroom of a recording in floats. Integers written as floats lie there, and
# numbers whose squares are infinite.
MAX_PEAK = 1000.0
BLOCK_FRAMES = 1 << 16
# Channels cancel each other where their average is 20 dB below them.
CANCELLED_SHARE, ABOUT_AS_LOUD = 0.01, 0.99


@dataclass(frozen=True)
class SoundFacts:
    """Facts about a sound that need no model; levels are those of what is heard, the channels mixed down."""

    format: str
    seconds: float
    rate: int
    """Frames per second in the file."""
    channels: int
    peak: float
    """The largest sample's size; 1 is full scale."""
    is_silent: bool
    """Between lowest and highest sample lies less than twice the silence level: a constant offset is silence, too."""
    sha256: str
    """The digest of the rate and of the decoded samples: equal for the same sound in another lossless file."""


def decode_sound(content: bytes, rate: int, *, max_seconds: float = MAX_SECONDS) -> Samples:
    """The whole sound as float32 of shape (frames,), resampled to `rate` frames per second (soxr).

    Channels are averaged; where they cancel each other, as when one is wired the wrong way round, the loudest is heard.
    A cut OGG or WAV is always noticed, unless it was written to a pipe and nothing says how long it is; an MP3 only if
    it says how long it is, as encoders with a Xing or LAME tag do.
    Raises: UnreadableSoundError if it is no WAV, FLAC, OGG or MP3, empty, longer than `max_seconds`, damaged, holds
    several sounds or more than its header says, or samples that are no finite numbers or absurdly large.
    """
    sound = _decoded(content, max_seconds)
    if sound.rate == rate:
        return sound.samples
    with _refusing():
        resampled: Samples = soxr.resample(sound.samples, sound.rate, rate, quality="HQ")
    if not len(resampled):
        raise UnreadableSoundError(f"too short: {len(sound.samples)} frames leave none at {rate:,} Hz")
    return resampled


def sound_seconds(content: bytes) -> float:
    """How long the sound is, not decoded. Raises: UnreadableSoundError if that cannot be told or is too long."""
    with _opened(content, MAX_SECONDS) as sound:
        return float(sound.frames / sound.samplerate)


def sound_samples(content: bytes) -> int:
    """How many samples all its channels have, as its header says. Raises: UnreadableSoundError as `sound_seconds`."""
    with _opened(content, MAX_SECONDS) as sound:
        return int(sound.frames * sound.channels)


def sound_facts(content: bytes, *, max_seconds: float = MAX_SECONDS, silence: float = SILENCE) -> SoundFacts:
    """The facts about a sound. Raises: UnreadableSoundError as `decode_sound` does."""
    sound = _decoded(content, max_seconds)
    lowest, highest = float(sound.samples.min()), float(sound.samples.max())
    return SoundFacts(
        format="WAV" if sound.format == "WAVEX" else sound.format,
        seconds=len(sound.samples) / sound.rate,
        rate=sound.rate,
        channels=sound.channels,
        peak=max(abs(lowest), abs(highest)),
        is_silent=highest - lowest < 2 * silence,
        sha256=hashlib.sha256(f"{sound.rate}\n".encode() + sound.samples.tobytes()).hexdigest(),
    )


@dataclass(frozen=True)
class _Decoded:
    format: str
    rate: int
    channels: int
    samples: Samples


def _decoded(content: bytes, max_seconds: float) -> _Decoded:
    levels = _Levels()
    with _opened(content, max_seconds) as sound, _refusing():
        samples = _samples(sound, levels)
    if levels.cancel_each_other:
        with _opened(content, max_seconds) as again, _refusing():
            samples = _samples(again, levels, channel=levels.loudest)
    _check_samples(samples)
    return _Decoded(sound.format, sound.samplerate, sound.channels, samples)


@contextmanager
def _refusing() -> Iterator[None]:
    """Whatever a decoder raises, it is the file's fault: one file may never end a run over thousands of others."""
    try:
        yield
    except (UnreadableSoundError, MemoryError):
        raise  # no room for a sound within its limits is the machine's fault
    except Exception as error:  # noqa: BLE001 - decoders raise anything
        reason = getattr(error, "error_string", None) or str(error) or type(error).__name__
        raise UnreadableSoundError(f"damaged or cut off ({' '.join(str(reason).split())})") from None


def _opened(content: bytes, max_seconds: float) -> soundfile.SoundFile:
    """The sound, of which its header has been believed as far as that is possible before decoding."""
    if not content:
        raise UnreadableSoundError("the file is empty")
    with _refusing():
        sound = _file(whole(content))
    if sound.format not in FORMATS:
        raise UnreadableSoundError(f"a sound in the format {sound.format}, expected WAV, FLAC, OGG or MP3; convert it")
    if sound.frames <= 0 or sound.samplerate <= 0:
        raise UnreadableSoundError("holds no samples")
    if sound.frames > max_seconds * sound.samplerate:
        seconds = sound.frames / sound.samplerate
        raise UnreadableSoundError(f"too long: its header says {seconds:,.1f} s, expected at most {max_seconds:g} s")
    if sound.frames > MAX_FRAMES:
        raise UnreadableSoundError(
            f"too long: {sound.frames:,} frames at {sound.samplerate:,} Hz, expected at most {MAX_FRAMES:,} frames"
        )
    return sound


def _file(content: bytes) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(io.BytesIO(content))
    except soundfile.LibsndfileError as error:
        other = what_it_is(content, expected=FORMATS) or f"it begins with {content[:SHOWN_BYTES]!r}"
        raise UnreadableSoundError(f"no readable WAV, FLAC, OGG or MP3 sound ({error.error_string}): {other}") from None


class _Levels:
    """How loud each of several channels is, and their average, apart from a constant offset; added block by block."""

    def __init__(self) -> None:
        self._frames = 0
        self._sums: Any = 0.0
        self._squares: Any = 0.0

    def add(self, block: np.ndarray[Any, np.dtype[np.float32]], mixed: Samples) -> None:
        """`block` is of shape (frames, channels)."""
        heard = np.column_stack([block, mixed]).astype(np.float64)
        self._frames += len(heard)
        self._sums = self._sums + heard.sum(axis=0)
        self._squares = self._squares + np.square(heard).sum(axis=0)

    @property
    def cancel_each_other(self) -> bool:
        if not self._frames:
            return False
        *channels, mixed = self._powers
        return bool(mixed < CANCELLED_SHARE * np.mean(channels))

    @property
    def loudest(self) -> int:
        """The first of those that are about as loud as the loudest."""
        channels = self._powers[:-1]
        return int(np.argmax(channels >= ABOUT_AS_LOUD * np.max(channels)))

    @property
    def _powers(self) -> Any:
        return self._squares / self._frames - np.square(self._sums / self._frames)


def _samples(sound: soundfile.SoundFile, levels: _Levels, *, channel: int | None = None) -> Samples:
    """The average of the channels, or one of them, float32 of shape (frames,), decoded block by block."""
    samples = np.empty(sound.frames, np.float32)
    read = 0
    try:
        while read < sound.frames and len(block := sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
            mixed = block.mean(axis=1) if channel is None else block[:, channel]
            samples[read : read + len(block)] = mixed
            read += len(block)
            if channel is None and sound.channels > 1:
                levels.add(block, mixed)
    except soundfile.LibsndfileError as error:
        raise UnreadableSoundError(f"damaged or cut off after {read:,} frames ({error.error_string})") from None
    if read < sound.frames:
        raise UnreadableSoundError(f"cut off: its header promises {sound.frames:,} frames, the file holds {read:,}")
    return samples


def _check_samples(samples: Samples) -> None:
    fit = np.abs(samples) <= MAX_PEAK
    if not fit.all():
        place = int(np.flatnonzero(~fit)[0])
        raise UnreadableSoundError(
            f"sample {place + 1:,} is {samples[place]:g}, expected finite numbers of at most {MAX_PEAK:,g}, where 1 is"
            " full scale"
        )
