"""The names of rows, and when two rows have the same content."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graftline.data.columns import Column

# 64 bits: among a hundred million rows two share a name with a chance of one in four thousand.
ID_HEX_DIGITS = 16


def normalised(text: str) -> str:
    """The text without what a reader does not see: case, width, composition, invisible marks, runs of white space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    seen = folded if folded.isascii() else "".join(mark for mark in folded if unicodedata.category(mark) != "Cf")
    return " ".join(seen.split())


def content_names(texts: Iterable[str]) -> list[str]:
    """A name for each text, made from its content."""
    return [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:ID_HEX_DIGITS] for text in texts]


def numbered_names(names: "Column") -> "Column":
    """The same names, of which the second that is equal gets the suffix -2."""
    import numpy as np  # not above: a page of the history needs `printable` alone
    import pyarrow as pa
    from pyarrow import compute

    from graftline.data.columns import Column, numbered

    number, _ = numbered([names.values])
    places = np.flatnonzero(np.bincount(number)[number] > 1)
    if not len(places):
        return names
    seen: Counter[int] = Counter()
    made = []
    for name, one in zip(names.at(places), number[places].tolist(), strict=True):
        seen[one] += 1
        made.append(name if seen[one] == 1 else f"{name}-{seen[one]}")
    doubled = np.zeros(len(names), np.bool_)
    doubled[places] = True
    return Column(compute.replace_with_mask(names.values, doubled, pa.array(made, names.values.type)))


def printable(text: str) -> str:
    """The text with what is not valid Unicode written as backslash escapes, so that every tool can store it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown_texts(texts: "Column") -> "Column":
    """Raw texts as valid Unicode, what is none as backslash escapes; an empty one is missing."""
    import pyarrow as pa
    from pyarrow import compute

    from graftline.data.columns import Column

    try:
        shown = texts.values.cast(pa.large_string())  # the same bytes, looked at once
    except pa.ArrowInvalid:
        shown = pa.array((None if one is None else printable(str(one)) for one in texts), pa.large_string())
    empty = compute.equal(compute.binary_length(shown), 0)
    return Column(compute.if_else(empty, None, shown) if compute.any(empty).as_py() else shown)
