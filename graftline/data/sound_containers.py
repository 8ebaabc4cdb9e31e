"""What a sound's file holds, told from its parts, since libsndfile believes the header and stops without a word."""

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from graftline.data.file_parts import has_too_many, most_parts

# Libraries that read tags believe the header, too; those that bring FFmpeg decode MP3 to other samples than libsndfile,
# which registered models learned from. So the parts are counted here, and libsndfile alone decodes.
SHOWN_BYTES = 12
# Some programs write tags behind the last part of a WAV; more than these few bytes are samples that nobody would hear.
WAV_TAIL_BYTES = 4096
# Which byte of a number comes first, in the words of `struct`.
WAV_ORDERS = {b"RIFF": "<", b"RIFX": ">"}
# PCM, floats, and either with more to say. In other encodings a block holds many frames.
WAV_PLAIN = (0x0001, 0x0003, 0xFFFE)
WAV_FORMAT = "HHIIHH"
# Who writes a WAV to a pipe does not know its length yet, and writes one of these or more: SoX, recorders, FFmpeg.
WAV_PIPED_BYTES = 2**31 - 2**13
OGG_HEADER_BYTES, OGG_FIRST_PAGE, OGG_LAST_PAGE = 27, 0x02, 0x04
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
FLAC_MARK, FLAC_START = b"fLaC", re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
FLAC_FRAME = re.compile(rb"\xff[\xf8\xf9]")
# The 36 bits of the length in frames begin with the lower half of this byte behind the mark.
FLAC_LENGTH_PLACE = 21
FLAC_BLOCKS = {1: 192, **{code: 576 << (code - 2) for code in range(2, 6)},
               **{code: 256 << (code - 8) for code in range(8, 16)}}  # fmt: skip
MP3_FRAME = re.compile(rb"\xff[\xe0-\xff]")
MP3_LOW, MP3_LOW_1 = ((8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
                      (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256))  # fmt: skip
# Kilobits per second, by version and layer as a header has them.
MP3_KILOBITS = {
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 3): tuple(range(32, 449, 32)),
    **{(version, layer): MP3_LOW for version in (2, 0) for layer in (1, 2)},
    (2, 3): MP3_LOW_1,
    (0, 3): MP3_LOW_1,
}
MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8000)}
MP3_VERSION_1, MP3_LAYER_1, MP3_LAYER_3, MP3_MONO = 3, 3, 1, 3
MP3_PADDING_BYTES = 4
# So many headers in a row are no accident of other bytes.
MP3_RUN = 3
# Encoders count the frame that holds the count, or do not; a few hundredths of a second.
MP3_SPARE_FRAMES = 2
# Room for the count in a frame without sound.
MP3_COUNT_BYTES = 64
MP3_TAGS = (b"TAG", b"APETAGEX", b"LYRICS", b"ID3", b"3DI")
# Ten minutes at the highest rate that recorders have; half a gigabyte of samples.
MAX_FRAMES = 600 * 192_000
# Ten minutes at MP3's highest rate, in its shortest frames.
MP3_MOST_FRAMES = 75_000
# Any encoder writes longer frames on the average.
FLAC_USUAL_SAMPLES = 100
TOO_MANY_PARTS = "holds more parts, or bytes that look like one, than any sound needs"
SEVERAL = "holds several sounds, of which only one would be read; expected one per file"


class UnreadableSoundError(ValueError):
    """A sound that cannot be decoded whole. Its text is a short reason, without the file's name."""


def whole(content: bytes) -> bytes:
    """The sound with its true length in its header, where it says none or too little of it to be read to its end.

    Raises: UnreadableSoundError if the file holds more or less than its header says, or several sounds.
    """
    start = _behind_tags(content)
    mark = content[start : start + 4]
    if mark in WAV_ORDERS:
        return _whole_wav(content)
    if mark == FLAC_MARK:
        return _whole_flac(content, start)
    if mark == b"OggS":
        _check_ogg(content[start:])
        return content
    return _whole_mp3(content, start)


def _behind_tags(content: bytes) -> int:
    """Where the sound begins: ID3 tags may stand in front of each format."""
    place = 0
    for _ in range(most_parts(content)):
        if content[place : place + 3] != b"ID3" or place + 10 > len(content):
            break
        # Seven bits in each byte, and ten bytes more if there is a footer.
        size = sum((byte & 0x7F) << 7 * power for power, byte in enumerate(reversed(content[place + 6 : place + 10])))
        place += 10 + size + (10 if content[place + 5] & 0x10 else 0)
    return place if place < len(content) else 0


def _whole_wav(content: bytes) -> bytes:
    """libsndfile quietly reads fewer frames where the header promises more samples, or fewer, than the file holds."""
    order = WAV_ORDERS.get(content[:4])
    if content[8:12] != b"WAVE" and order:
        return content  # another file in parts, which libsndfile names
    if order is None:
        # libsndfile leaves out tags of MP3 in front.
        raise UnreadableSoundError(f"a WAV sound behind other bytes: it begins with {content[:SHOWN_BYTES]!r}")
    if has_too_many(_wav_parts(content, order), content):
        raise UnreadableSoundError(TOO_MANY_PARTS)
    samples = None
    for name, place, size in _wav_parts(content, order):
        rest = len(content) - place
        if name == b"fmt " and size <= rest:
            _check_wav_format(content[place : place + size], order)
        if name in WAV_ORDERS or (name == b"data" and samples):
            raise UnreadableSoundError(SEVERAL)
        if name == b"data" and _is_piped(content, order, size, rest):
            sizes = (struct.pack(f"{order}I", number) for number in (len(content) - 8, rest))
            return b"".join([content[:4], next(sizes), content[8 : place - 4], next(sizes), content[place:]])
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
    if not samples:
        raise UnreadableSoundError("holds no samples")
    return content


def _wav_parts(content: bytes, order: str) -> Iterator[tuple[bytes, int, int]]:
    """The name of each part, where its content begins, and how many bytes it says that it has."""
    place = 12
    while place + 8 <= len(content):
        name, size = struct.unpack_from(f"{order}4sI", content, place)
        yield name, place + 8, size
        place += 8 + size + size % 2


def _is_piped(content: bytes, order: str, size: int, rest: int) -> bool:
    """Whether the samples go on to the end of the file: who wrote it to a pipe did not know how many there will be.

    The size of the whole file stands in the header, too: it is as unknown, or says that nothing is missing.
    """
    (whole_bytes,) = struct.unpack_from(f"{order}I", content, 4)
    # What was never closed has the size of its header alone.
    never_closed = whole_bytes >= WAV_PIPED_BYTES or whole_bytes + 8 <= len(content) - rest
    if size == 0:
        return never_closed and rest > 0
    return size >= WAV_PIPED_BYTES and size > rest and (never_closed or whole_bytes + 8 == len(content))


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
            raise UnreadableSoundError(SEVERAL)
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


@dataclass(frozen=True)
class _FlacFrame:
    """What the header of a FLAC frame says (RFC 9639, section 9.1)."""

    number: int
    """Of the frame, or of its first sample."""
    samples: int
    kind: tuple[int, int, int]
    """What all frames of a sound have in common."""


def _whole_flac(content: bytes, start: int) -> bytes:
    """libsndfile hears as many samples as the header says; of an unknown length it makes 576 billion seconds."""
    place = start + len(FLAC_MARK)
    while place + 4 <= len(content):
        is_last, size = content[place] & 0x80, int.from_bytes(content[place + 1 : place + 4], "big")
        place += 4 + size
        if is_last:
            break
    if FLAC_START.search(content, place):
        raise UnreadableSoundError(SEVERAL)
    found = _flac_samples(content, place)
    at = start + FLAC_LENGTH_PLACE
    promised = int.from_bytes(content[at : at + 5], "big") & 0xF_FFFF_FFFF
    if found > promised > 0:
        raise UnreadableSoundError(f"its header promises {promised:,} frames, the file holds {found:,}")
    if promised or not found:
        return content
    known = (content[at] & 0xF0) << 32 | found
    return content[:at] + known.to_bytes(5, "big") + content[at + 5 :]


def _flac_samples(content: bytes, start: int) -> int:
    """How many samples of each channel the frames hold, counted by their headers."""
    total, first, next_number = 0, None, 0
    for looked, match in enumerate(FLAC_FRAME.finditer(content, start)):
        if looked > most_parts(content) + min(total, MAX_FRAMES) // FLAC_USUAL_SAMPLES:
            raise UnreadableSoundError(TOO_MANY_PARTS)
        frame = _flac_frame(content, match.start())
        if frame is None or (first and (frame.kind != first.kind or frame.number != next_number)):
            continue
        first = first or frame
        total += frame.samples
        next_number = frame.number + (frame.samples if frame.kind[0] & 1 else 1)
    return total


def _flac_frame(content: bytes, place: int) -> _FlacFrame | None:
    """The header at a place; None if there is none."""
    head = content[place : place + 16]
    if len(head) < 6 or head[3] & 1:
        return None
    block_code, rate_code = head[2] >> 4, head[2] & 0x0F
    ones = next((bit for bit in range(8) if not head[4] << bit & 0x80), 8)
    end = 4 + max(1, ones)
    block_at = end
    end += {6: 1, 7: 2}.get(block_code, 0) + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if ones in (1, 8) or end >= len(head) or _crc8(head[:end]) != head[end]:
        return None
    number = head[4] & (0x7F >> ones)
    for byte in head[5:block_at]:
        number = number << 6 | byte & 0x3F
    if block_code in (6, 7):
        samples = int.from_bytes(head[block_at : block_at + block_code - 5], "big") + 1
    else:
        samples = FLAC_BLOCKS.get(block_code, 0)
    return _FlacFrame(number, samples, (head[1], rate_code, head[3] >> 1 & 7))


def _crc8(header: bytes) -> int:
    checksum = 0
    for byte in header:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum << 1 ^ (0x107 if checksum & 0x80 else 0)
    return checksum


@dataclass(frozen=True)
class _Mp3Frame:
    """What the four bytes at the beginning of an MP3 frame say."""

    place: int
    bytes: int
    kind: tuple[int, int, int]
    """Version, layer and rate: all frames of a sound have these in common."""
    side_bytes: int
    """Between the header and what an encoder writes into a first frame without sound."""

    @property
    def end(self) -> int:
        return self.place + self.bytes


def _whole_mp3(content: bytes, start: int) -> bytes:
    """mpg123 hears as many frames as the first one says, and guesses from the bitrate of that one if it says none."""
    frames = list(islice(_mp3_frames(content, start), MP3_MOST_FRAMES + 1))
    if not frames:
        return content
    if len(frames) > MP3_MOST_FRAMES:
        raise UnreadableSoundError(f"too long: it holds more than {MP3_MOST_FRAMES:,} MP3 frames")
    counted = [place for place, frame in enumerate(frames) if _mp3_count(content, frame) is not None]
    if len({frame.kind for frame in frames}) > 1 or counted not in ([], [0]):
        raise UnreadableSoundError(SEVERAL)
    promised, found = _mp3_count(content, frames[0]), len(frames) - len(counted)
    if not promised:
        return _with_mp3_count(content, frames[len(counted) :])
    if found > promised + MP3_SPARE_FRAMES:
        raise UnreadableSoundError(f"its header promises {promised:,} MP3 frames, the file holds {found:,}")
    return content


def _mp3_frames(content: bytes, start: int) -> Iterator[_Mp3Frame]:
    """The whole frames, also those behind other bytes if several stand in a row."""
    place, kind, misses = start, None, 0
    while True:
        if misses > most_parts(content):
            raise UnreadableSoundError(TOO_MANY_PARTS)
        frame = _mp3_frame(content, place)
        if frame and (frame.kind == kind or _is_in_a_row(content, frame)):
            if frame.end > len(content):
                return
            yield frame
            place, kind = frame.end, frame.kind
        elif match := MP3_FRAME.search(content, place + 1):
            place, kind, misses = match.start(), None, misses + 1
        else:
            return


def _is_in_a_row(content: bytes, frame: _Mp3Frame) -> bool:
    for _ in range(MP3_RUN - 1):
        if frame.end >= len(content) or content.startswith(MP3_TAGS, frame.end):
            return True
        following = _mp3_frame(content, frame.end)
        if following is None or following.kind != frame.kind:
            return False
        frame = following
    return True


def _mp3_frame(content: bytes, place: int) -> _Mp3Frame | None:
    """The frame whose header stands at a place, whole or not; None if there is none."""
    head = content[place : place + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer, rate_code = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 2 & 3
    bitrate_code, is_mono = head[2] >> 4, head[3] >> 6 == MP3_MONO
    if version not in MP3_RATES or (version, layer) not in MP3_KILOBITS or rate_code == 3 or bitrate_code in (0, 15):
        return None
    rate = MP3_RATES[version][rate_code]
    size = _mp3_frame_bytes(version, layer, rate, bitrate_code) + (head[2] >> 1 & 1) * (
        4 if layer == MP3_LAYER_1 else 1
    )
    side_bytes = (17 if is_mono else 32) if version == MP3_VERSION_1 else (9 if is_mono else 17)
    return _Mp3Frame(place, size, (version, layer, rate), side_bytes + (0 if head[1] & 1 else 2))


def _mp3_frame_bytes(version: int, layer: int, rate: int, bitrate_code: int) -> int:
    bits = 1000 * MP3_KILOBITS[version, layer][bitrate_code - 1]
    if layer == MP3_LAYER_1:
        return 12 * bits // rate * 4
    return (72 if layer == MP3_LAYER_3 and version != MP3_VERSION_1 else 144) * bits // rate


def _mp3_count(content: bytes, frame: _Mp3Frame) -> int | None:
    """How many frames follow, of a frame that holds their number in place of sound; 0: it says that it holds it not."""
    at = frame.place + 4 + frame.side_bytes
    if content[at : at + 4] not in (b"Xing", b"Info"):
        return None
    return int.from_bytes(content[at + 8 : at + 12], "big") if content[at + 7] & 1 else 0


def _with_mp3_count(content: bytes, frames: Sequence[_Mp3Frame]) -> bytes:
    """The sound behind a frame that holds the number of its frames, unless the guess at it is right."""
    first, last = frames[0], frames[-1]
    cut = _mp3_frame(content, last.end)
    if cut and cut.kind == last.kind:
        raise UnreadableSoundError(f"cut off inside the MP3 frame at byte {cut.place:,}")
    if len({frame.bytes for frame in frames}) == 1 and last.end == len(content):
        return content
    version, layer, rate = first.kind
    if layer != MP3_LAYER_3:
        return _of_one_bitrate(content, frames)
    code = next(code for code in range(1, 15) if _mp3_frame_bytes(version, layer, rate, code) >= MP3_COUNT_BYTES)
    _, named, rated, channels = content[first.place : first.place + 4]
    silence = bytes(first.side_bytes - (0 if named & 1 else 2))
    counting = bytes([0xFF, named | 1, code << 4 | rated & 0x0C, channels]) + silence + b"Xing"
    counting += (1).to_bytes(4, "big") + len(frames).to_bytes(4, "big")
    counting += bytes(_mp3_frame_bytes(version, layer, rate, code) - len(counting))
    return content[: first.place] + counting + content[first.place :]


def _of_one_bitrate(content: bytes, frames: Sequence[_Mp3Frame]) -> bytes:
    """In layers 1 and 2 there is no place for the number of frames."""
    sizes = [frame.bytes for frame in frames]
    if max(sizes) > min(sizes) + MP3_PADDING_BYTES:
        raise UnreadableSoundError("its bitrate changes, and nothing says how long it is")
    return content
