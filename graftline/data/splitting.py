"""The split into train, validation and test rows, frozen by hash: a row's side depends on nothing but its group."""

import hashlib
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# Where an accepted row is used: on its side of the split, or on none, for a held-out row with a twin before it.
Side = Split | Literal["twin"]
TWIN: Literal["twin"] = "twin"

# Part of every hash. Another value would be another split, and scores of before and after could not be compared.
SPLIT_VERSION = b"graftline split 1\0"


def split_of(group: str, *, test_share: float, validation_share: float) -> Split:
    """The side on which all rows of `group` lie, now and after any growth of the data."""
    digest = hashlib.sha256(SPLIT_VERSION + group.encode("utf-8", "surrogatepass")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test_share:
        return "test"
    return "validation" if place < test_share + validation_share else "train"
