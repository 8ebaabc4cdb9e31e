"""How many parts a file may have: millions of empty ones, in a few megabytes, keep a decoder busy for minutes."""

from collections.abc import Iterable
from itertools import islice

# Encoders write some dozens of a few bytes, and beyond these some of kilobytes each.
FREE_PARTS, BYTES_PER_PART = 1000, 500


def most_parts(content: bytes) -> int:
    """The most parts, or places that look like one, that are looked at in a file."""
    return FREE_PARTS + len(content) // BYTES_PER_PART


def has_too_many(parts: Iterable[object], content: bytes) -> bool:
    """Whether there are more; the parts are counted no further than that."""
    most = most_parts(content)
    return sum(1 for _ in islice(parts, most + 1)) > most
