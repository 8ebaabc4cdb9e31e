"""The names of rows, and when two rows have the same content."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

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

    from graftline.data.column_parts import FiledParts
    from graftline.data.columns import Column
    from graftline.data.numbering import digests, numbered

    number = numbered(digests(str(name).encode() for name in names))
    doubled = np.bincount(number)[number] > 1 if len(number) else np.zeros(0, np.bool_)
    if not doubled.any():
        return names
    seen: Counter[int] = Counter()
    made, before = FiledParts(), 0
    for some in names.arrays():
        places = np.flatnonzero(doubled[before : before + len(some)])
        suffixed = []
        for name, one in zip(some.take(places).to_pylist(), number[before + places].tolist(), strict=True):
            seen[one] += 1
            suffixed.append(name if seen[one] == 1 else f"{name}-{seen[one]}")
        here = doubled[before : before + len(some)]
        made.add(compute.replace_with_mask(some, here, pa.array(suffixed, some.type)))
        before += len(some)
    return Column(made.done(names.type))


def printable(text: str) -> str:
    """The text with what is not valid Unicode written as backslash escapes, so that every tool can store it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown_texts(texts: "Column") -> "Column":
    """Raw texts as valid Unicode, what is none as backslash escapes; an empty one is missing."""
    import pyarrow as pa

    return texts.seen_as(pa.large_string(), _shown)


def _shown(texts: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    from pyarrow import compute

    from graftline.data.columns import Column

    try:
        shown = texts.cast(pa.large_string())  # the same bytes, looked at once
    except pa.ArrowInvalid:
        shown = pa.array((None if one is None else printable(str(one)) for one in Column(texts)), pa.large_string())
    empty = compute.equal(compute.binary_length(shown), 0)
    return compute.if_else(empty, None, shown) if compute.any(empty).as_py() else shown
