"""The files that rows name: read from below data/ and nowhere else, one at a time, and what can be said of each."""

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from graftline.settings import DataSettings

if TYPE_CHECKING:
    from graftline.data.images import ImageFacts
    from graftline.data.sounds import SoundFacts

# Ten minutes of stereo at 96 kHz and 32 bits; what is larger would fill the memory before it can be refused.
MAX_FILE_BYTES = 512 * 2**20

MOST_SAMPLE_BITS = 16
# Raised whenever a file decodes to other pixels or samples than before: what lies in stores was computed of those.
DECODING_VERSION = 2


class UnreadableFileError(ValueError):
    """A file that cannot be had. Its text is a short reason, without the file's name."""


@dataclass(frozen=True, slots=True)
class MediaFile:
    """The file that one row names: its facts, or its fault."""

    absent: str | None = None
    """Why the file cannot be had."""
    undecodable: str | None = None
    """Why it is no whole image or sound."""
    sha256: str | None = None
    """The digest of its bytes."""
    facts: "ImageFacts | SoundFacts | None" = None


def look_at(
    data: Path, name: str, settings: DataSettings, *, cache: Path | None = None, sample_bits: int = MOST_SAMPLE_BITS
) -> MediaFile:
    """Read and decode the file `name` below the folder `data`, and keep what can be said of it; `cache` as there.

    `sample_bits` is how many bits a picture of 16 bits a sample uses, if neither it nor the settings say so.
    """
    from graftline.data.images import UnreadableImageError, image_facts
    from graftline.data.sound_containers import UnreadableSoundError
    from graftline.data.sounds import sound_facts

    try:
        content = read_below(data, name, cache=cache)
    except UnreadableFileError as error:
        return MediaFile(absent=str(error))
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        if settings.kind == "image":
            bits = settings.sample_bits or sample_bits
            image = image_facts(content, max_pixels=settings.max_pixels, sample_bits=bits)
            if 0 < settings.sample_bits < (image.used_bits or 0):
                raise UnreadableImageError(
                    f"its values need {image.used_bits} bits a sample, expected at most {settings.sample_bits} as"
                    " data.sample_bits says"
                )
            return MediaFile(sha256=sha256, facts=image)
        return MediaFile(sha256=sha256, facts=sound_facts(content, silence=settings.silence_level))
    except (UnreadableImageError, UnreadableSoundError) as error:
        return MediaFile(sha256=sha256, undecodable=str(error))


def sample_bits_of(files: Iterable[MediaFile], settings: DataSettings) -> int:
    """How many bits a sample the pictures of a set use that do not say it themselves: as many as the largest value."""
    return settings.sample_bits or max(map(used_bits, files), default=0) or MOST_SAMPLE_BITS


def used_bits(file: MediaFile) -> int:
    """How many bits a picture of 16 bits a sample uses that does not say so itself; 0 for every other file."""
    return getattr(file.facts, "used_bits", None) or 0


def read_below(data: Path, name: str, *, cache: Path | None = None) -> bytes:
    """The content of the file `name`, a path below the folder `data` with / between folders.

    `cache` is a folder that links may lead to: DVC puts links where the files were, if its setting cache.type says so.
    Raises: UnreadableFileError if the path leaves the folder, also by a link, or names no file that can be read.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UnreadableFileError(f"no path below {data.name}/: it is absolute or holds .. or NUL")
    try:
        os.fsencode(name)
    except UnicodeEncodeError as error:
        mark = f"U+{ord(name[error.start]):04X} at character {error.start + 1}"
        raise UnreadableFileError(f"no path below {data.name}/: {mark} is in no file's name") from None
    homes = [os.path.realpath(home) for home in (data, cache) if home]
    real = Path(os.path.realpath(data / path))
    if not any(real.is_relative_to(home) for home in homes):
        raise UnreadableFileError(f"a link that leads out of {data.name}/")
    try:
        # Before it is opened: opening a pipe would wait for its other end.
        status = real.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFileError("a folder or device, expected a file")
        if status.st_size > MAX_FILE_BYTES:
            raise UnreadableFileError(f"{status.st_size:,} bytes large, expected at most {MAX_FILE_BYTES:,}")
        return real.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UnreadableFileError(f"there is no such file below {data.name}/{_hint(data, name)}") from None
    except OSError as error:
        raise UnreadableFileError(f"cannot be read ({error.strerror})") from None


def _hint(data: Path, name: str) -> str:
    """What the path of a file that is not there may have meant."""
    if "\\" in name or re.match(r"[A-Za-z]:/", name):
        return "; write / in place of Windows' \\, no drive"
    if PurePosixPath(name).parts[:1] == (data.name,):
        return f"; paths start inside {data.name}/"
    for form in ("NFC", "NFD"):
        if (data / unicodedata.normalize(form, name)).is_file():
            return f", but one of that name in Unicode's form {form}; write the path so"
    for other in (name.strip(), name.lower()):
        if (data / other).is_file():
            return f", but {other!a}; write the path so"
    return ""
