"""Images and sounds on their way into a model: bytes, or a file that is read when its batch comes up."""

import base64
import binascii
import hashlib
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from graftline.data.media_files import MAX_FILE_BYTES
from graftline.errors import DataRefusedError
from graftline.models.views import View
from graftline.wording import shown

# Enough of a client's text to recognise it by.
SHOWN_CHARACTERS = 60
# What a browser puts in front of base64 text, and what others put between its lines.
DATA_URI = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
WHITE_SPACE = str.maketrans("", "", " \t\r\n\v\f")


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
            # Before it is opened: a pipe or a device may never end.
            status = self.source.stat()
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{self.name}: is a folder or device, expected a file; leave it out")
            if status.st_size > MAX_FILE_BYTES:
                raise ValueError(
                    f"{self.name}: the file has {status.st_size:,} bytes, expected at most {MAX_FILE_BYTES:,}"
                )
            content = self.source.read_bytes()
        except OSError as error:
            raise ValueError(f"{self.name}: the file cannot be read ({error.strerror}); give a readable one") from None
        if self.sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != self.sha256:
            raise DataRefusedError(
                f"{self.name}: the file has sha256 {found[:12]}, expected {self.sha256[:12]} as validated; it changed"
                " while the line ran: put it back, or run again from the start"
            )
        return content

    def carried(self) -> "Medium":
        """The same with its bytes in place of the file. Raises: as `read`."""
        return replace(self, source=self.read())

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


def media_of(raws: Iterable[object], what: str) -> list[Medium]:
    """Media as clients and tables hold them: bytes, their base64 text, or media; and files as `pathlib.Path`.

    No text is ever taken for a path: whoever may send one could otherwise have any file opened.
    Raises: ValueError naming the first that is none of these; `what` is what was asked for ("an image", "a sound").
    """
    return [raw if isinstance(raw, Medium) else _medium(place, raw, what) for place, raw in enumerate(raws)]


def _medium(place: int, raw: object, what: str) -> Medium:
    name = f"input {place}"
    if isinstance(raw, bytes | bytearray | memoryview):
        return Medium(name, bytes(raw))
    if isinstance(raw, Path):
        return Medium(name, raw)
    if isinstance(raw, str) and (content := _from_base64(raw)):
        return Medium(name, content)
    raise ValueError(
        f"{name} is {shown(raw, SHOWN_CHARACTERS)}, expected the bytes of {what} or their base64 text (a Python program"
        " may also give a pathlib.Path); leave it out or mend it"
    )


def _from_base64(text: str) -> bytes | None:
    """The bytes of a base64 text, also of one in lines or of a data URI; None of any other."""
    prefix = DATA_URI.match(text)
    body = text[prefix.end() :] if prefix else text
    if prefix and "%" in body:
        body = unquote(body)
    try:
        return base64.b64decode(body.translate(WHITE_SPACE), validate=True)
    except (binascii.Error, ValueError):
        return None
