"""A sound is decoded whole, mixed down and at the asked rate, or refused with a reason."""

import contextlib
import io
import struct
import wave

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from graftline.data.sound_containers import UnreadableSoundError, _mp3_frames
from graftline.data.sounds import decode_sound, sound_facts, sound_seconds
from tests.support.tiny_media_files import SOUND_RATE, tiny_sound

Array = np.ndarray[tuple[int, ...], np.dtype[np.floating]]
SAMPLES = tiny_sound("low", 0)


# Fields of a WAV that describe its samples: where they stand, and in how many bytes.
CHANNELS, RATE, BITS = (2, "H"), (4, "I"), (14, "H")


def stored(
    samples: Array, kind: str = "WAV", subtype: str | None = None, rate: int = SOUND_RATE, endian: str | None = None
) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format=kind, subtype=subtype, endian=endian)
    return content.getvalue()


KINDS = {
    "wav": stored(SAMPLES, "WAV", "PCM_16"),
    "wav of 24 bits": stored(SAMPLES, "WAV", "PCM_24"),
    "wav of floats": stored(SAMPLES, "WAV", "FLOAT"),
    "wav of doubles": stored(SAMPLES, "WAV", "DOUBLE"),
    "wav of mu-law": stored(SAMPLES, "WAV", "ULAW"),
    "extensible wav": stored(SAMPLES, "WAVEX", "PCM_16"),
    "big-endian wav": stored(SAMPLES, "WAV", "PCM_16", endian="BIG"),
    "flac": stored(SAMPLES, "FLAC"),
    "ogg": stored(SAMPLES, "OGG", "VORBIS"),
    "opus": stored(SAMPLES, "OGG", "OPUS"),
    "mp3": stored(SAMPLES, "MP3"),
}


def with_data_size(content: bytes, size: int) -> bytes:
    """A WAV whose header promises `size` bytes of samples."""
    place = content.index(b"data") + 4
    return content[:place] + size.to_bytes(4, "little") + content[place + 4 :]


def with_field(content: bytes, field: tuple[int, str], value: int) -> bytes:
    """A WAV whose header says another `value` in one of its fields."""
    place, kind = field
    changed = bytearray(content)
    order = ">" if content.startswith(b"RIFX") else "<"
    struct.pack_into(order + kind, changed, content.index(b"fmt ") + 8 + place, value)
    return bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_comes_back_in_every_format(kind: str) -> None:
    decoded = decode_sound(KINDS[kind], SOUND_RATE)
    assert (decoded.dtype.name, decoded.shape) == ("float32", SAMPLES.shape)
    assert np.corrcoef(decoded, SAMPLES)[0, 1] > (0.98 if kind in ("ogg", "opus", "mp3") else 0.999)


def test_eight_bit_mono_at_8_khz_is_accepted() -> None:
    content = stored(SAMPLES, "WAV", "PCM_U8", 8000)
    facts = sound_facts(content)
    assert (facts.rate, facts.channels, facts.seconds) == (8000, 1, len(SAMPLES) / 8000)
    assert len(decode_sound(content, SOUND_RATE)) == 2 * len(SAMPLES)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_a_tone_keeps_its_height_at_any_rate(rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    decoded = decode_sound(stored(tone, rate=rate), SOUND_RATE)
    assert len(decoded) == SOUND_RATE
    assert np.abs(np.fft.rfft(decoded)).argmax() == 440


def test_what_a_lower_rate_cannot_hold_is_filtered_out_not_folded_back() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 7000 * np.arange(48_000) / 48_000)
    assert np.abs(decode_sound(stored(tone, rate=48_000), 8000)[500:-500]).max() < 0.001


def test_channels_are_averaged() -> None:
    both = np.stack([SAMPLES, np.zeros_like(SAMPLES), -SAMPLES / 2], axis=1)
    decoded = decode_sound(stored(both, subtype="FLOAT"), SOUND_RATE)
    assert np.allclose(decoded, both.mean(axis=1), atol=1e-6)
    assert sound_facts(stored(both)).channels == 3


def test_a_sound_longer_than_a_block_is_put_together_whole() -> None:
    ramp = np.linspace(-0.9, 0.9, 200_001, dtype=np.float32)
    assert np.array_equal(decode_sound(stored(ramp, subtype="FLOAT"), SOUND_RATE), ramp)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_that_is_cut_off_anywhere_is_refused(kind: str) -> None:
    content = KINDS[kind]
    for length in range(0, len(content), len(content) // 50):
        with pytest.raises(UnreadableSoundError):
            decode_sound(content[:length], SOUND_RATE)


@pytest.mark.parametrize("size", [40_000, 2**30])
def test_a_wav_header_that_promises_more_than_the_file_holds_is_refused(size: int) -> None:
    content = with_data_size(KINDS["wav"], size)
    with pytest.raises(UnreadableSoundError, match=f"its header promises {size:,} bytes of samples, the file holds"):
        decode_sound(content, SOUND_RATE)


def test_a_wav_header_that_promises_less_than_the_file_holds_is_refused() -> None:
    with pytest.raises(UnreadableSoundError, match=r"promises 1,000 bytes of samples, but [\d,]+ more bytes follow"):
        decode_sound(with_data_size(stored(np.tile(SAMPLES, 2)), 1000), SOUND_RATE)


@pytest.mark.parametrize("kind", ["wav", "wav of floats", "extensible wav", "big-endian wav"])
@pytest.mark.parametrize(("field", "value"), [(CHANNELS, 2), (RATE, 8000), (RATE, 2**31 - 1)])
def test_a_wav_header_that_contradicts_itself_is_refused(kind: str, field: tuple[int, str], value: int) -> None:
    content = KINDS[kind].replace(b"PEAK", b"JUNK")  # there libsndfile writes something of each channel
    with pytest.raises(UnreadableSoundError, match="its header contradicts itself"):
        sound_facts(with_field(content, field, value))


@pytest.mark.parametrize("bits", [8, 24, 32])
def test_a_wav_header_that_lies_in_bits_is_refused_with_the_figures(bits: int) -> None:
    with pytest.raises(
        UnreadableSoundError,
        match=f"1 channels of {bits} bits at 16,000 Hz take {bits // 8} bytes a frame and {2000 * bits:,} a second, it"
        " says 2 and 32,000",
    ):
        sound_facts(with_field(KINDS["wav"], BITS, bits))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("endian", [None, "BIG"])
@pytest.mark.parametrize(
    ("kind", "subtype"),
    [(kind, subtype) for kind in ("WAV", "WAVEX") for subtype in soundfile.available_subtypes(kind)
     if subtype != "MPEG_LAYER_III"],
)  # fmt: skip
def test_what_libsndfile_writes_as_a_wav_is_accepted(
    kind: str, subtype: str, endian: str | None, channels: int
) -> None:
    try:
        content = stored(np.tile(SAMPLES[:, None], (1, channels)), kind, subtype, endian=endian)
    except (ValueError, soundfile.LibsndfileError):
        return  # some encodings have one channel or one order of bytes only
    assert sound_facts(content).channels == channels


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_what_python_writes_as_a_wav_is_accepted(width: int, channels: int) -> None:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(np.random.default_rng(0).bytes(800 * width * channels))
    facts = sound_facts(content.getvalue())
    assert (facts.seconds, facts.rate, facts.channels) == (0.1, 8000, channels)


@pytest.mark.parametrize("length", [1000, None])
def test_a_wav_behind_a_tag_that_hides_its_header_is_refused(length: int | None) -> None:
    tag = b"ID3\4\0\0\0\0\0\x0a" + bytes(10)
    with pytest.raises(UnreadableSoundError, match="a WAV sound behind other bytes: it begins with b'ID3"):
        sound_facts(tag + KINDS["wav"][:length])


@pytest.mark.parametrize("tail", [b"LIST\4\0\0\0INFO", b"\0\0\0", b"TAG of some old player", b"LIST\4\0\0\0INFOid3 "])
def test_chunks_and_tags_around_the_samples_are_no_samples(tail: bytes) -> None:
    wav = KINDS["wav"]
    junk = b"JUNK\3\0\0\0abc\0"
    assert len(decode_sound(wav[:12] + junk + wav[12:] + tail, SOUND_RATE)) == len(SAMPLES)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "wav of mu-law"])
def test_several_sounds_in_one_file_are_refused(kind: str) -> None:
    with pytest.raises(UnreadableSoundError, match="holds several sounds"):
        decode_sound(KINDS[kind] * 2, SOUND_RATE)


@pytest.mark.parametrize("content", [
    KINDS["flac"] + 4_000 * b"\xff\xf8",
    KINDS["wav"] + 4_000 * b"abcd\0\0\0\0",
    4_000 * b"\xff\xfb\x90\x00",
    # The shortest frames there are, eighty thousand in two megabytes.
    80_000 * (b"\xff\xf3\x10\xc0" + bytes(22)),
])  # fmt: skip
def test_a_file_whose_parts_would_be_looked_at_for_minutes_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableSoundError, match=r"than any sound needs|too long: it holds more than 75,000 MP3"):
        decode_sound(content, SOUND_RATE)


def without_count(mp3: bytes) -> bytes:
    """The frames of an MP3 that hold sound, without the one in front that counts them."""
    return mp3[next(_mp3_frames(mp3, 0)).bytes :]


# Half of it takes few bits, so that the bitrate of the first frame says nothing about the others.
LOUD_THEN_QUIET = np.concatenate([np.random.default_rng(0).normal(0, 0.2, 32_000), np.zeros(32_000)])


@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125), b"APETAGEX" + bytes(20_000)])
@pytest.mark.parametrize("rate", [SOUND_RATE, 44_100])
def test_an_mp3_that_does_not_count_its_frames_is_heard_to_its_end(rate: int, tail: bytes) -> None:
    content = without_count(stored(LOUD_THEN_QUIET, "MP3", rate=rate)) + tail
    facts = sound_facts(content)
    assert len(LOUD_THEN_QUIET) <= facts.seconds * rate <= len(LOUD_THEN_QUIET) + 3000
    assert sound_seconds(content) == facts.seconds


def test_mp3s_without_counts_that_were_joined_are_heard_to_their_end() -> None:
    one = without_count(stored(LOUD_THEN_QUIET, "MP3"))
    assert sound_facts(one * 2).seconds == pytest.approx(2 * sound_facts(one).seconds, abs=0.1)
    with pytest.raises(UnreadableSoundError, match="holds several sounds"):
        sound_facts(one + without_count(stored(SAMPLES, "MP3", rate=44_100)))


def test_an_mp3_that_is_cut_inside_a_frame_is_refused_without_a_count_too() -> None:
    with pytest.raises(UnreadableSoundError, match="cut off inside the MP3 frame at byte"):
        sound_facts(without_count(stored(LOUD_THEN_QUIET, "MP3"))[:-20])


def test_an_mp3_that_counts_too_few_frames_is_refused() -> None:
    content = stored(LOUD_THEN_QUIET, "MP3")
    place = content.index(b"Xing") + 8
    few = content[:place] + (20).to_bytes(4, "big") + content[place + 4 :]
    with pytest.raises(UnreadableSoundError, match=r"its header promises 20 MP3 frames, the file holds 1\d\d"):
        sound_facts(few)


def with_flac_samples(content: bytes, samples: int) -> bytes:
    """A FLAC whose header promises so many; 0: it does not say."""
    return content[:21] + bytes([content[21] & 0xF0]) + samples.to_bytes(4, "big") + content[26:]


@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125)])
@pytest.mark.parametrize("samples", [SAMPLES, LOUD_THEN_QUIET, np.stack([SAMPLES, -SAMPLES / 2], axis=1)])
def test_a_flac_of_unknown_length_is_heard_to_its_end(samples: Array, tail: bytes) -> None:
    content = stored(samples, "FLAC")
    unknown = with_flac_samples(content, 0) + tail
    assert sound_facts(unknown) == sound_facts(content)
    assert sound_seconds(unknown) == len(samples) / SOUND_RATE
    with pytest.raises(UnreadableSoundError):
        sound_facts(unknown[: len(content) * 2 // 3])


def test_a_flac_that_counts_too_few_samples_is_refused() -> None:
    with pytest.raises(
        UnreadableSoundError, match=rf"its header promises 1,000 frames, the file holds {len(SAMPLES):,}"
    ):
        sound_facts(with_flac_samples(KINDS["flac"], 1000))


@pytest.mark.parametrize("kind", ["wav", "wav of 24 bits", "extensible wav", "big-endian wav"])
@pytest.mark.parametrize(
    ("whole", "samples"),
    [(2**32 - 1, 2**32 - 1), (0, 0), (36, 0), (0x7FFFF024, 0x7FFFF000), (2**31 + 36, 2**31), (None, 2**32 - 1)],
)
def test_a_wav_that_was_written_to_a_pipe_is_heard_to_its_end(kind: str, whole: int | None, samples: int) -> None:
    content = bytearray(KINDS[kind])
    order = ">" if content.startswith(b"RIFX") else "<"
    struct.pack_into(order + "I", content, content.index(b"data") + 4, samples)
    if whole is not None:
        struct.pack_into(order + "I", content, 4, whole)
    assert sound_facts(bytes(content)) == sound_facts(KINDS[kind])
    assert sound_seconds(bytes(content)) == len(SAMPLES) / SOUND_RATE


def test_an_empty_wav_with_tags_behind_holds_no_samples() -> None:
    with pytest.raises(UnreadableSoundError, match="holds no samples"):
        sound_facts(stored(SAMPLES[:0]).replace(b"\x24\0\0\0WAVE", b"\x30\0\0\0WAVE") + b"LIST\4\0\0\0INFO")


@pytest.mark.parametrize("gains", [(1, -1), (1, -0.9), (0.5, -1, 0.5)])
def test_of_channels_that_cancel_each_other_the_loudest_is_heard(gains: tuple[float, ...]) -> None:
    content = stored(np.stack([gain * SAMPLES + 0.01 for gain in gains], axis=1), subtype="FLOAT")
    loudest = gains[int(np.argmax(np.abs(gains)))]
    assert np.allclose(decode_sound(content, SOUND_RATE), loudest * SAMPLES + 0.01, atol=1e-6)
    assert not sound_facts(content).is_silent


@pytest.mark.parametrize("error", [AttributeError("no such tag"), RuntimeError(), RecursionError("deep")])
def test_whatever_a_decoder_raises_is_the_fault_of_the_file(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(soundfile.SoundFile, "read", broken)
    with pytest.raises(UnreadableSoundError, match=r"damaged or cut off \((no such tag|RuntimeError|deep)\)"):
        decode_sound(KINDS["wav"], SOUND_RATE)


@pytest.mark.parametrize("kind", ["flac", "ogg", "opus"])
def test_a_changed_byte_is_noticed_where_the_format_has_checksums(kind: str) -> None:
    content = bytearray(KINDS[kind])
    for place in range(len(content) // 2, len(content), len(content) // 20):
        content[place] ^= 0x10
        with pytest.raises(UnreadableSoundError):
            decode_sound(bytes(content), SOUND_RATE)
        content[place] ^= 0x10


@given(kind=st.sampled_from(list(KINDS)), changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255))))
@settings(max_examples=400, deadline=None)
def test_damage_is_decoded_or_refused_but_never_another_error(kind: str, changes: list[tuple[int, int]]) -> None:
    content = bytearray(KINDS[kind])
    for place, value in changes:
        # Early bytes more often: headers are where decoders trip.
        content[place % (len(content) if place % 2 else 60)] = value
    with contextlib.suppress(UnreadableSoundError):
        assert np.isfinite(decode_sound(bytes(content), SOUND_RATE)).all()


@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_finite_numbers_are_refused(fault: float) -> None:
    samples = SAMPLES.copy()
    samples[41] = fault
    with pytest.raises(UnreadableSoundError, match=rf"sample 42 is {fault}, expected finite numbers"):
        decode_sound(stored(samples, subtype="FLOAT"), SOUND_RATE)


@pytest.mark.parametrize(("value", "shown"), [(1e30, r"1e\+30"), (-32_768, "-32768"), (1000.5, "1000.5")])
def test_samples_far_above_full_scale_are_refused(value: float, shown: str) -> None:
    samples = SAMPLES.copy()
    samples[41] = value
    with pytest.raises(
        UnreadableSoundError,
        match=rf"sample 42 is {shown}, expected finite numbers of at most 1,000, where 1 is full scale",
    ):
        decode_sound(stored(samples, subtype="FLOAT"), SOUND_RATE)


def test_a_recording_above_full_scale_is_a_sound() -> None:
    assert sound_facts(stored(1000 * SAMPLES / np.abs(SAMPLES).max(), subtype="FLOAT")).peak == pytest.approx(1000)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"these are words, no samples", "no readable WAV, FLAC, OGG or MP3 sound"),
        (stored(SAMPLES[:0]), "holds no samples"),
        (KINDS["wav"][:44], "cut off: its header promises"),
        (stored(SAMPLES, "AIFF"), "a sound in the format AIFF, expected WAV, FLAC, OGG or MP3"),
        (stored(np.zeros((10, 1)), "RF64"), "a sound in the format RF64"),
    ],
)
def test_what_is_no_sound_is_refused_with_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableSoundError) as caught:
        sound_facts(content)
    assert str(caught.value).startswith(reason)


def test_a_sound_beyond_the_bound_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = stored(np.zeros(8000 * 601), "FLAC", rate=8000)
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    with pytest.raises(UnreadableSoundError, match=r"too long: its header says 601\.0 s, expected at most 600 s"):
        decode_sound(content, SOUND_RATE)


def test_a_sound_too_short_for_the_asked_rate_is_refused() -> None:
    with pytest.raises(UnreadableSoundError, match="too short: 1 frames leave none at 100 Hz"):
        decode_sound(stored(np.array([0.5]), rate=48_000), 100)


@pytest.mark.parametrize(
    ("samples", "silent"),
    [(np.zeros(800), True), (np.full(800, 0.5), True), (0.0005 * SAMPLES, True), (SAMPLES, False),
     (np.zeros((800, 2)), True), (0.0005 * np.stack([SAMPLES, -SAMPLES], axis=1), True)],
)  # fmt: skip
def test_silence_is_what_moves_nothing_in_any_channel(samples: Array, silent: bool) -> None:
    assert sound_facts(stored(samples)).is_silent == silent


def test_the_facts_are_those_of_the_file() -> None:
    facts = sound_facts(KINDS["wav"])
    assert (facts.format, facts.rate, facts.channels) == ("WAV", SOUND_RATE, 1)
    assert facts.seconds == len(SAMPLES) / SOUND_RATE
    assert facts.peak == pytest.approx(np.abs(SAMPLES).max(), abs=1e-4)


def test_the_same_sound_in_two_lossless_files_has_the_same_digest() -> None:
    samples = decode_sound(KINDS["wav"], SOUND_RATE)
    wav, flac, ogg = (sound_facts(stored(samples, kind)).sha256 for kind in ("WAV", "FLAC", "OGG"))
    assert wav == flac != ogg
    assert sound_facts(stored(samples, "WAV", rate=8000)).sha256 != wav


def test_a_machine_without_memory_is_no_fault_of_a_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    content = io.BytesIO()
    soundfile.write(content, np.sin(np.arange(8000) / 9), 16_000, format="WAV")
    monkeypatch.setattr(soundfile.SoundFile, "read", full)
    with pytest.raises(MemoryError):
        decode_sound(content.getvalue(), 16_000)
