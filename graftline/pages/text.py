"""Text of others, made harmless and visible on a page."""

import re

from graftline.data.row_names import printable
from graftline.wording import shortened

SHOWN_CHARACTERS = 300


def visible(value: object) -> str:
    """A value as it may stand on a page: cut when long, and with nothing in it that turns the line around."""
    return spelt_out(shortened(printable("" if value is None else str(value)), SHOWN_CHARACTERS))


def spelt_out(text: str) -> str:
    """A text whole, with what cannot be seen, or turns the line around, as its number."""
    return "".join(mark if mark.isprintable() or mark == "\n" else f"\\u{ord(mark):04x}" for mark in text)


def as_markdown(text: str) -> str:
    """Text that Markdown shows as it stands, in one line."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~-])", r"\\\1", " ".join(text.split()))
