"""What a file is that is not what its name says: told by how it begins, with what to do about it."""

import re
from collections.abc import Collection

# As much as is looked at; a pointer of Git LFS and the beginning of a web page are shorter.
HEAD_BYTES = 256
CONVERT, UNPACK = "convert it", "unpack it"
# Text may begin with any letters, so each pattern holds what no table begins with.
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (rb"version https://git-lfs", "a pointer of Git LFS, not the file itself", "run `git lfs pull` where it came from"),
    (rb"\s*<(!doctype html|html[\s>])", "a web page", "the download went wrong: download it anew"),
    (rb"\x1f\x8b", "packed by gzip", UNPACK),
    (rb"BZh\d1AY&SY", "packed by bzip2", UNPACK),
    (rb"\xfd7zXZ\x00", "packed by xz", UNPACK),
    (rb"\x28\xb5\x2f\xfd", "packed by zstd", UNPACK),
    (rb"PK\x03\x04", "a zip archive, which spreadsheets (.xlsx, .ods) are, too", "unpack it, or export it as CSV"),
    (rb"7z\xbc\xaf|Rar!\x1a", "an archive", UNPACK),
    (rb"PAR1[\x00-\x1f]", "a Parquet table", "name it .parquet"),
    (rb"ARROW1\x00\x00", "an Arrow table", "convert it to Parquet"),
    (rb"SQLite format 3\x00", "an SQLite database", "export its table as CSV"),
    (rb"%PDF-", "a PDF", CONVERT),
    (rb"\x89PNG\r\n", "a PNG picture", CONVERT),
    (rb"\xff\xd8\xff", "a JPEG picture", CONVERT),
    (rb"RIFF....WEBP", "a WebP picture", CONVERT),
    (rb"GIF8[79]a", "a GIF picture", CONVERT),
    (rb"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+", "a TIFF picture", CONVERT),
    (rb"BM....\x00\x00\x00\x00", "a BMP picture", CONVERT),
    (rb"....ftypavi[fs]", "an AVIF picture", CONVERT),
    (rb"....ftyp(hei|hev|mif1|msf1)", "a HEIC picture", CONVERT),
    (rb"....ftyp", "an MPEG-4 file (.m4a, .mp4)", CONVERT),
    (rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "a JPEG-2000 picture", CONVERT),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG-XL picture", CONVERT),
    (rb"(RIFF|RIFX)....WAVE", "a WAV sound", CONVERT),
    (rb"fLaC", "a FLAC sound", CONVERT),
    (rb"OggS\x00", "an OGG sound", CONVERT),
    (rb"ID3[\x02-\x04]", "an MP3 sound", CONVERT),
    (rb"FORM....AIF[FC]", "an AIFF sound", CONVERT),
    (rb"caff\x00", "a CAF sound", CONVERT),
    (rb"#!AMR", "an AMR sound", CONVERT),
    (rb"\x1a\x45\xdf\xa3", "a WebM or Matroska file", CONVERT),
    (rb"\x30\x26\xb2\x75", "a WMA or WMV file", CONVERT),
)  # fmt: skip
_KNOWN = [(re.compile(pattern, re.DOTALL | re.IGNORECASE), what, way) for pattern, what, way in _BEGINNINGS]


def what_it_is(content: bytes, *, expected: Collection[str] = ()) -> str | None:
    """What the bytes are and what to do about it, or None of what nothing is known about.

    None also of what was `expected`, by one word of its name: it is then a damaged one.
    """
    head = content[:HEAD_BYTES]
    found = next(((what, way) for pattern, what, way in _KNOWN if pattern.match(head)), None)
    if found is None or set(found[0].split()) & set(expected):
        return None
    return f"it is {found[0]}; {found[1]}"


def is_pointer(content: bytes) -> bool:
    """Whether only the pointer of Git LFS is there, as in a clone without it."""
    return content.startswith(b"version https://git-lfs")
