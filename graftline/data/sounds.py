"""Sounds from bytes: decoded whole or refused with a reason, and what can be said of one without a model."""

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

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
SHOWN_BYTES = 12
# Some programs write tags behind the last part of a WAV; more than these few bytes are samples that nobody would hear.
WAV_TAIL_BYTES = 4096
# Which byte of a number comes first, in the words of `struct`.
WAV_ORDERS = {b"RIFF": "<", b"RIFX": ">"}
# PCM, floats, and either with more to say. In other encodings a block holds many frames.
WAV_PLAIN = (0x0001, 0x0003, 0xFFFE)
WAV_FORMAT = "HHIIHH"
OGG_HEADER_BYTES, OGG_FIRST_PAGE, OGG_LAST_PAGE = 27, 0x02, 0x04
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class UnreadableSoundError(ValueError):
    """A sound that cannot be decoded whole. Its text is a short reason, without the file's name."""


@dataclass(frozen=True)
class SoundFacts:
    """Facts about a sound that need no model; levels are those of the channels mixed down."""

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
    """The whole sound as float32 of shape (frames,): channels averaged, resampled to `rate` frames per second (soxr).

    A cut OGG or WAV is always noticed; an MP3 only if it says how long it is, as encoders with a Xing or LAME tag do.
    Raises: UnreadableSoundError if it is no WAV, FLAC, OGG or MP3, empty, longer than `max_seconds`, damaged, or holds
    samples that are no finite numbers or absurdly large.
    """
    with _opened(content, max_seconds) as sound:
        samples = _mixed_down(sound)
        if sound.samplerate == rate:
            return samples
        resampled: Samples = soxr.resample(samples, sound.samplerate, rate, quality="HQ")
    if not len(resampled):
        raise UnreadableSoundError(f"too short: {len(samples)} frames leave none at {rate:,} Hz")
    return resampled


def sound_seconds(content: bytes) -> float:
    """How long the sound is, as its header says. Raises: UnreadableSoundError if that cannot be or is too long."""
    with _opened(content, MAX_SECONDS) as sound:
        return float(sound.frames / sound.samplerate)


def sound_samples(content: bytes) -> int:
    """How many samples all its channels have, as its header says. Raises: UnreadableSoundError as `sound_seconds`."""
    with _opened(content, MAX_SECONDS) as sound:
        return int(sound.frames * sound.channels)


def sound_facts(content: bytes, *, max_seconds: float = MAX_SECONDS, silence: float = SILENCE) -> SoundFacts:
    """The facts about a sound. Raises: UnreadableSoundError as `decode_sound` does."""
    with _opened(content, max_seconds) as sound:
        samples = _mixed_down(sound)
        lowest, highest = float(samples.min()), float(samples.max())
        return SoundFacts(
            format="WAV" if sound.format == "WAVEX" else sound.format,
            seconds=len(samples) / sound.samplerate,
            rate=sound.samplerate,
            channels=sound.channels,
            peak=max(abs(lowest), abs(highest)),
            is_silent=highest - lowest < 2 * silence,
            sha256=hashlib.sha256(f"{sound.samplerate}\n".encode() + samples.tobytes()).hexdigest(),
        )


def _opened(content: bytes, max_seconds: float) -> soundfile.SoundFile:
    """The sound, of which its header has been believed as far as that is possible before decoding."""
    if not content:
        raise UnreadableSoundError("the file is empty")
    try:
        sound = soundfile.SoundFile(io.BytesIO(content))
    except soundfile.LibsndfileError as error:
        raise UnreadableSoundError(
            f"no readable WAV, FLAC, OGG or MP3 sound ({error.error_string}): it begins with {content[:SHOWN_BYTES]!r}"
        ) from None
    if sound.format not in FORMATS:
        raise UnreadableSoundError(f"a sound in the format {sound.format}, expected WAV, FLAC, OGG or MP3")
    if sound.format in ("WAV", "WAVEX"):
        _check_wav(content)
    elif sound.format == "OGG":
        _check_ogg(content)
    if sound.frames == 0:
        raise UnreadableSoundError("holds no samples")
    if sound.frames > max_seconds * sound.samplerate:
        seconds = sound.frames / sound.samplerate
        raise UnreadableSoundError(f"too long: its header says {seconds:,.1f} s, expected at most {max_seconds:g} s")
    return sound


def _check_wav(content: bytes) -> None:
    """libsndfile quietly reads fewer frames where the header promises more samples, or fewer, than the file holds."""
    order = WAV_ORDERS.get(content[:4])
    if order is None:
        # libsndfile leaves out tags of MP3 in front.
        raise UnreadableSoundError(f"a WAV sound behind other bytes: it begins with {content[:SHOWN_BYTES]!r}")
    place, samples = 12, None
    while place + 8 <= len(content):
        name, size = struct.unpack_from(f"{order}4sI", content, place)
        rest = len(content) - place - 8
        if name == b"fmt " and size <= rest:
            _check_wav_format(content[place + 8 : place + 8 + size], order)
        if name == b"data" and size > rest:
            raise UnreadableSoundError(
                f"cut off: its header promises {size:,} bytes of samples, the file holds {rest:,}"
            )
        if samples is not None and size > rest > WAV_TAIL_BYTES:
            raise UnreadableSoundError(
                f"its header promises {samples:,} bytes of samples, but {rest + 8:,} more bytes follow that are none of"
                " its parts"
            )
        samples = size if name == b"data" else samples
        place += 8 + size + size % 2
    if not samples:
        raise UnreadableSoundError("holds no samples")


def _check_wav_format(content: bytes, order: str) -> None:
    """libsndfile believes channels, rate and bits, each for itself; what a second takes shows if one is wrong."""
    if len(content) < struct.calcsize(order + WAV_FORMAT):
        raise UnreadableSoundError(f"damaged: its header describes the samples in {len(content)} bytes")
    kind, channels, rate, second_bytes, frame_bytes, bits = struct.unpack_from(order + WAV_FORMAT, content)
    expected_bytes = channels * -(-bits // 8)
    if kind in WAV_PLAIN and (frame_bytes, second_bytes) != (expected_bytes, rate * expected_bytes):
        raise UnreadableSoundError(
            f"its header contradicts itself: {channels} channels of {bits} bits at {rate:,} Hz take {expected_bytes:,}"
            f" bytes a frame and {rate * expected_bytes:,} a second, it says {frame_bytes:,} and {second_bytes:,}"
        )


def _check_ogg(content: bytes) -> None:
    """libsndfile quietly leaves out damaged and missing pages (https://www.xiph.org/ogg/doc/framing.html)."""
    place, flags = 0, 0
    while place < len(content):
        header = content[place : place + OGG_HEADER_BYTES]
        if len(header) < OGG_HEADER_BYTES:
            raise UnreadableSoundError(f"cut off inside the OGG page at byte {place:,}")
        if place and header[5] & OGG_FIRST_PAGE:
            raise UnreadableSoundError("holds several sounds, of which only one would be read; expected one per file")
        sizes = content[place + OGG_HEADER_BYTES : place + OGG_HEADER_BYTES + header[26]]
        page = content[place : place + OGG_HEADER_BYTES + len(sizes) + sum(sizes)]
        checksum = int.from_bytes(page[22:26], "little")
        if page[:4] != b"OggS" or _ogg_checksum(page[:22] + bytes(4) + page[26:]) != checksum:
            raise UnreadableSoundError(f"damaged or cut off: the OGG page at byte {place:,} is not what was written")
        place, flags = place + len(page), page[5]
    if not flags & OGG_LAST_PAGE:
        raise UnreadableSoundError("cut off: the last OGG page is missing")


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 with the bits the other way round than zlib has them, and without zlib's inversions."""
    mirrored = zlib.crc32(page.translate(REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _mixed_down(sound: soundfile.SoundFile) -> Samples:
    """The average of the channels, float32 of shape (frames,), decoded block by block."""
    samples = np.empty(sound.frames, np.float32)
    read = 0
    try:
        while len(block := sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
            samples[read : read + len(block)] = block.mean(axis=1)
            read += len(block)
    except soundfile.LibsndfileError as error:
        raise UnreadableSoundError(f"damaged or cut off after {read:,} frames ({error.error_string})") from None
    if read < sound.frames:
        raise UnreadableSoundError(f"cut off: its header promises {sound.frames:,} frames, the file holds {read:,}")
    fit = np.abs(samples) <= MAX_PEAK
    if not fit.all():
        place = int(np.flatnonzero(~fit)[0])
        raise UnreadableSoundError(
            f"sample {place + 1:,} is {samples[place]:g}, expected finite numbers of at most {MAX_PEAK:,g}, where 1 is"
            " full scale"
        )
    return samples
