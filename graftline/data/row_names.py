"""The names of rows, and when two rows have the same content."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator

# 64 bits: among a hundred million rows two share a name with a chance of one in four thousand.
ID_HEX_DIGITS = 16


def normalised(text: str) -> str:
    """The text without what a reader does not see: case, width, composition, invisible marks, runs of white space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    seen = folded if folded.isascii() else "".join(mark for mark in folded if unicodedata.category(mark) != "Cf")
    return " ".join(seen.split())


def content_ids(texts: Iterable[str]) -> Iterator[str]:
    """A name for each text, made from its content; the second row with the same text gets the suffix -2."""
    seen: Counter[str] = Counter()
    for text in texts:
        name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:ID_HEX_DIGITS]
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}-{seen[name]}"


def printable(text: str) -> str:
    """The text with what is not valid Unicode written as backslash escapes, so that every tool can store it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
