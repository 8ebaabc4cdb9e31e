"""Thousands of damaged pictures, sounds and tables: each is read or refused in words, in seconds, in little memory.

`python -m tests.hunts.damaged_files --each 500` damages every file of `whole_files()` so often, each time in another
way, in processes of its own, and prints what came of it. One damage is found again by its name and number.
"""

import argparse
import io
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile
from PIL import Image, PngImagePlugin
from pyarrow import parquet

from graftline.data.foreign_tables import manner_of, rewrite
from graftline.data.image_containers import PNG_MARK, png_parts
from graftline.data.images import UnreadableImageError, decode_image, image_facts
from graftline.data.sound_containers import UnreadableSoundError, _ogg_checksum
from graftline.data.sounds import decode_sound, sound_facts, sound_seconds
from graftline.data.tables import read_header, read_rows
from graftline.errors import GraftlineError
from tests.support.tiny_media_files import SOUND_RATE, tiny_image, tiny_sound

READ, REFUSED = "read", "refused"
# A tiny file that takes longer hangs; one that takes more memory would end a server.
MOST_SECONDS, MOST_MEGABYTES = 10, 3000
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
# Types of a tag in EXIF, one more than there are.
TAG_TYPES = 14


@dataclass(frozen=True)
class Outcome:
    """What came of one damaged file."""

    what: str
    """READ or REFUSED; else what must not be."""
    said: str = ""


@cache
def whole_files() -> Mapping[str, bytes]:
    """Small files of all forms that are accepted, by name; the name's ending says how each is read."""
    return {**_pictures(), **_sounds(), **_tables()}


def damaged(name: str, number: int) -> bytes:
    """The file of that name, damaged in the manner of that number."""
    random = np.random.default_rng([number, *name.encode()])
    content = bytearray(whole_files()[name])
    manners = [_with_bytes, _with_extremes, _with_extremes, _cut, _without_part, _with_part_twice, _filled]
    if b"Exif\0\0" in content:
        manners += [_with_odd_tags] * 4
    for _ in range(int(random.integers(1, 4))):
        manners[int(random.integers(len(manners)))](content, random)
    # With its checksums as they ought to be half of the damage gets further into a reader.
    return _sealed(bytes(content)) if random.random() < 0.5 else bytes(content)


def outcome_of(name: str, content: bytes) -> Outcome:
    """What reading a file gives, as validation, training and serving read it."""
    try:
        _read(name, content)
    except (UnreadableImageError, UnreadableSoundError, GraftlineError) as error:
        is_memory = "allocate" in str(error) or "MemoryError" in str(error)
        return Outcome("took too much memory" if is_memory else REFUSED, str(error))
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return Outcome(f"raised {type(error).__name__}", str(error))
    return Outcome(READ)


def _read(name: str, content: bytes) -> None:
    suffix = Path(name).suffix
    if suffix in TABLE_SUFFIXES:
        with tempfile.TemporaryDirectory() as folder:
            _read_table(Path(folder) / f"table{suffix}", content)
    elif suffix in (".wav", ".flac", ".ogg", ".mp3"):
        facts = sound_facts(content)
        samples = decode_sound(content, SOUND_RATE)
        assert sound_seconds(content) == facts.seconds, "validation and serving hear other lengths"
        assert abs(len(samples) - facts.seconds * SOUND_RATE) <= 2, "training hears another length than validation"
        assert np.isfinite(samples).all()
    else:
        picture, known = decode_image(content), image_facts(content)
        assert (picture.mode, *picture.size) == ("RGB", known.width, known.height)


def _read_table(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    if path.suffix in (".csv", ".tsv"):
        # As `init` reads what other programs wrote.
        ours = path.with_name("ours.csv")
        try:
            rewrite([path], manner_of(path), ours)
        except GraftlineError:
            if path.suffix == ".tsv":
                raise
        path = ours if path.suffix == ".tsv" else path
    names = list(read_header(path))
    for row in read_rows(path, names):
        assert len(row.values) == len(names)


def _pictures() -> dict[str, bytes]:
    picture = tiny_image("disc", 1)
    words = PngImagePlugin.PngInfo()
    words.add_text("Comment", "a comment " * 20, zip=True)
    words.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "Maker", 0x0110: "Model", 0x011A: 72.0, 0x8769: {0x9003: "2020:01:01 00:00:00"}})
    deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 16)
    other = tiny_image("stripes", 2)

    def stored(image: Image.Image, kind: str, **options: object) -> bytes:
        content = io.BytesIO()
        image.save(content, kind, **options)
        return content.getvalue()

    return {
        "plain.png": stored(picture, "PNG"),
        "words and tags.png": stored(picture, "PNG", pnginfo=words, exif=exif, icc_profile=bytes(range(256)) * 4),
        "palette.png": stored(picture.quantize(16), "PNG", transparency=3),
        "transparent.png": stored(picture.convert("RGBA"), "PNG"),
        "deep.png": stored(deep, "PNG"),
        "animated.png": stored(picture, "PNG", save_all=True, append_images=[other.resize(picture.size)]),
        "plain.jpg": stored(picture, "JPEG"),
        "progressive.jpg": stored(picture, "JPEG", progressive=True),
        "tags.jpg": stored(picture, "JPEG", exif=exif, icc_profile=bytes(500), comment=b"a comment"),
        "grey.jpg": stored(picture.convert("L"), "JPEG", exif=exif),
        "four inks.jpg": stored(picture.convert("CMYK"), "JPEG"),
        "two.jpg": stored(picture, "MPO", save_all=True, append_images=[other]),
        "plain.webp": stored(picture, "WEBP"),
        "lossless.webp": stored(picture.convert("RGBA"), "WEBP", lossless=True),
        "tags.webp": stored(picture, "WEBP", exif=exif, xmp=b"<x/>", icc_profile=bytes(200)),
        "animated.webp": stored(picture, "WEBP", save_all=True, append_images=[other.resize(picture.size)]),
    }


def _sounds() -> dict[str, bytes]:
    one = tiny_sound("low", 1)
    two = np.stack([one, -one / 3], axis=1)
    kinds = {
        "16 bits.wav": (one, "WAV", "PCM_16"), "24 bits.wav": (two, "WAV", "PCM_24"),
        "floats.wav": (one, "WAV", "FLOAT"),
        "doubles.wav": (two, "WAV", "DOUBLE"), "law.wav": (one, "WAV", "ULAW"), "ima.wav": (two, "WAV", "IMA_ADPCM"),
        "ms.wav": (one, "WAV", "MS_ADPCM"), "gsm.wav": (one, "WAV", "GSM610"), "g721.wav": (one, "WAV", "G721_32"),
        "nms.wav": (one, "WAV", "NMS_ADPCM_32"), "extensible.wav": (two, "WAVEX", "PCM_16"),
        "one.flac": (one, "FLAC", "PCM_16"), "two.flac": (two, "FLAC", "PCM_24"), "vorbis.ogg": (two, "OGG", "VORBIS"),
        "opus.ogg": (one, "OGG", "OPUS"), "one.mp3": (one, "MP3", None), "two.mp3": (two, "MP3", None),
    }  # fmt: skip
    files = {name: _sound(*how) for name, how in kinds.items()}
    files["big-endian.wav"] = _sound(one, "WAV", "PCM_16", endian="BIG")
    files["tags.mp3"] = b"ID3\4\0\0\0\0\1\0" + bytes(128) + files["one.mp3"] + b"TAG" + bytes(125)
    files["piped.wav"] = files["16 bits.wav"].replace(files["16 bits.wav"][4:8], b"\xff" * 4, 1)
    return files


def _sound(samples: object, kind: str, subtype: str | None, endian: str | None = None) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, SOUND_RATE, format=kind, subtype=subtype, endian=endian)
    return content.getvalue()


def _tables() -> dict[str, bytes]:
    rows = [(number, f'text {number}, "quoted" é', ("a", "b")[number % 2], number / 3) for number in range(60)]
    names = ("id", "text", "label", "score")
    csv_lines = [",".join(names), *(f'{n},"{t.replace(chr(34), 2 * chr(34))}",{x},{s}' for n, t, x, s in rows)]
    tsv_lines = ["\t".join(names), *("\t".join(map(str, row)) for row in rows)]
    jsonl = [str(dict(zip(names, (n, "t", x, s), strict=True))).replace("'", '"') for n, _, x, s in rows]
    columns = {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    table = pa.table({**columns, "kind": pa.array(["x"] * len(rows)).dictionary_encode()})
    files = {
        "plain.csv": "\n".join(csv_lines).encode(),
        "windows.csv": ("﻿" + "\r\n".join(csv_lines)).encode(),
        "wide.tsv": "\n".join(csv_lines).encode("utf-16"),
        "plain.tsv": "\n".join(tsv_lines).encode("cp1252"),
        "plain.jsonl": "\n".join(jsonl).encode(),
    }
    for compression in ("none", "snappy", "zstd", "gzip"):
        content = io.BytesIO()
        parquet.write_table(table, content, compression=compression)
        files[f"{compression}.parquet"] = content.getvalue()
    return files


def _sealed(content: bytes) -> bytes:
    if content.startswith(PNG_MARK):
        parts = [content[start : max(start + 8, end - 4)] for _, start, end in png_parts(content)]
        return PNG_MARK + b"".join(part + zlib.crc32(part[4:]).to_bytes(4, "big") for part in parts)
    if not content.startswith(b"OggS"):
        return content
    pages = [page if number == 0 else b"OggS" + page for number, page in enumerate(content.split(b"OggS"))]
    return b"".join(
        page[:22] + _ogg_checksum(page[:22] + bytes(4) + page[26:]).to_bytes(4, "little") + page[26:] for page in pages
    )


def _place(content: bytearray, random: np.random.Generator) -> int:
    """Early and late bytes more often: headers are where readers trip."""
    side = random.random()
    start = max(0, len(content) - 300) if side < 0.2 else 0
    end = min(len(content), 200) if side > 0.6 else len(content)
    return int(random.integers(start, max(start + 1, end)))


def _with_bytes(content: bytearray, random: np.random.Generator) -> None:
    for _ in range(int(random.integers(1, 10))):
        if content:
            content[_place(content, random)] = int(random.integers(256))


def _with_extremes(content: bytearray, random: np.random.Generator) -> None:
    for _ in range(int(random.integers(1, 4))):
        size, order = int(random.choice([1, 2, 4])), str(random.choice(["little", "big"]))
        place = _place(content, random)
        value = int(random.choice(EXTREMES)) & (256**size - 1)
        content[place : place + size] = value.to_bytes(size, "little" if order == "little" else "big")


def _cut(content: bytearray, random: np.random.Generator) -> None:
    del content[int(random.integers(len(content) + 1)) :]


def _without_part(content: bytearray, random: np.random.Generator) -> None:
    place = _place(content, random)
    del content[place : place + int(random.integers(1, 200))]


def _with_part_twice(content: bytearray, random: np.random.Generator) -> None:
    place, size = _place(content, random), int(random.integers(1, 400))
    content[place:place] = content[place : place + size] * int(random.integers(1, 4))


def _filled(content: bytearray, random: np.random.Generator) -> None:
    place, size = _place(content, random), int(random.integers(1, 400))
    content[place : place + size] = random.bytes(size) if random.random() < 0.5 else bytes(size)


def _with_odd_tags(content: bytearray, random: np.random.Generator) -> None:
    """Tags of EXIF with other types, counts and values; the parts around them stay as they are."""
    start = content.find(b"Exif\0\0") + 6
    order = {b"II": "<", b"MM": ">"}.get(bytes(content[start : start + 2]))
    if order is None:
        return
    for _ in range(int(random.integers(1, 6))):
        at = start + 10 + 12 * int(random.integers(8))
        if at + 12 > len(content):
            continue
        tag = int(random.choice([0x0112, 0x010F, 0x011A, 0x0128, 0x8769, 0x8825, 0x927C, int(random.integers(65_536))]))
        value = int(random.choice([0, 1, 6, 8, 26, 0xFFFF, 0xFFFFFFFF]))
        struct.pack_into(
            f"{order}HHII",
            content,
            at,
            tag,
            int(random.integers(TAG_TYPES)),
            int(random.choice([0, 1, 2, 9, 2**31])),
            value,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=500, help="how often each file is damaged")
    parser.add_argument("--only", default="", help="files whose names hold this")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        _damage_one(asked.one, asked.start, asked.each)
        return 0
    counts: Counter[str] = Counter()
    for name in whole_files():
        if asked.only in name:
            counts += _damaged_in_processes(name, asked.each)
    print(dict(counts))
    return 0 if set(counts) <= {READ, REFUSED} else 1


def _damaged_in_processes(name: str, each: int) -> "Counter[str]":
    """What came of a file: a process that is killed by it is followed by one that goes on behind."""
    counts, start = Counter[str](), 0
    while start < each:
        command = [
            sys.executable,
            "-m",
            "tests.hunts.damaged_files",
            "--one",
            name,
            "--start",
            str(start),
            "--each",
            str(each),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                what, said = line.rstrip("\n").split("\t")
                counts[what] += 1
                if what not in (READ, REFUSED):
                    print(f"{name} {start}: {what} {said}", flush=True)
                start += 1
        if process.returncode:
            counts["ended the process"] += 1
            print(f"{name} {start}: ended the process ({process.returncode})", flush=True)
            start += 1
    print(f"{name}: {dict(counts)}", flush=True)
    return counts


def _damage_one(name: str, start: int, end: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEGABYTES * 2**20,) * 2)
    for number in range(start, end):
        signal.alarm(MOST_SECONDS)
        outcome = outcome_of(name, damaged(name, number))
        print(f"{outcome.what}\t{' '.join(outcome.said.split())[:200]!a}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
