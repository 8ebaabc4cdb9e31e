"""Images and sounds on their way into a model: bytes, or a file that is read when its batch comes up."""

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from graftline.data.media_files import MAX_FILE_BYTES
from graftline.errors import DataRefusedError
from graftline.models.views import View
from graftline.wording import shortened

# Enough of a client's text to recognise it by.
SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Medium:
    """An image or a sound."""

    name: str
    """Its name in an error."""
    source: bytes | Path
    sha256: str | None = None
    """The digest that the bytes must have; None: it was never recorded."""
    seconds: float | None = None
    """How long the sound is, if that is known."""
    view: View | None = None
    """In which random view it is seen; None: as it is."""

    def read(self) -> bytes:
        """The bytes.

        Raises: ValueError if the file cannot be read; DataRefusedError if it is not the one that was recorded.
        """
        if isinstance(self.source, bytes):
            return self.source
        try:
            if (size_bytes := self.source.stat().st_size) > MAX_FILE_BYTES:
                raise ValueError(f"{self.name}: the file has {size_bytes:,} bytes, expected at most {MAX_FILE_BYTES:,}")
            content = self.source.read_bytes()
        except OSError as error:
            raise ValueError(f"{self.name}: the file cannot be read ({error.strerror}); give a readable one") from None
        if self.sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != self.sha256:
            raise DataRefusedError(
                f"{self.name}: the file has sha256 {found[:12]}, expected {self.sha256[:12]} as validated; it changed"
                " while the line ran: put it back, or run again from the start"
            )
        return content

    def unreadable(self, what: str, error: ValueError) -> ValueError:
        """The error for bytes that are no `what`, and why.

        Of a file that a client named, nothing is told: the reason may show its first bytes, whatever it is.
        """
        is_named_by_client = isinstance(self.source, Path) and self.sha256 is None
        why = "of another format, damaged or cut off" if is_named_by_client else error
        return ValueError(f"{self.name}: no {what} that can be read ({why}); leave it out or mend it")

    def digest(self) -> str:
        """The sha256 of the bytes."""
        return self.sha256 or hashlib.sha256(self.read()).hexdigest()


def media_of(raws: Sequence[object], what: str) -> list[Medium]:
    """Media as clients and tables hold them: bytes, their base64 text, paths of readable files, or media.

    Raises: ValueError naming the first that is none of these; `what` is what was asked for ("image", "sound").
    """
    return [raw if isinstance(raw, Medium) else _medium(place, raw, what) for place, raw in enumerate(raws)]


def _medium(place: int, raw: object, what: str) -> Medium:
    name = f"input {place}"
    if isinstance(raw, bytes | bytearray | memoryview):
        return Medium(name, bytes(raw))
    if isinstance(raw, Path | str) and os.path.isfile(raw):  # noqa: PTH113 - also of what is too long for a path
        return Medium(name, Path(raw))
    if isinstance(raw, str) and raw:
        try:
            return Medium(name, base64.b64decode(raw, validate=True))
        except (binascii.Error, ValueError):
            pass  # neither a file nor base64
    raise ValueError(
        f"{name} is {shortened(repr(raw), SHOWN_CHARACTERS)}, expected the bytes of {what}, their base64 text, or the"
        " path of a readable file; leave it out or mend it"
    )
