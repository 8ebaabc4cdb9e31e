"""The split into train, validation and test rows, frozen by hash: a row's side depends on nothing but its group.

Data that come in folders of a split bring it along: then the folders say it.
"""

import hashlib
import re
from collections.abc import Collection
from typing import Literal

Split = Literal["train", "validation", "test"]
# A row has its twin on a side before its own: a model learns from the first, and is chosen by the second, from which
# a solved head learns, too.
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# Where an accepted row is used: on its side of the split, or on none, for a held-out row with a twin before it.
Side = Split | Literal["twin"]
TWIN: Literal["twin"] = "twin"
# What says on which side a row lies, where no folders do.
BY_HASH = "hash"

# Part of every hash. Another value would be another split, and scores of before and after could not be compared.
SPLIT_VERSION = b"graftline split 1\0"

# How people call the folders of a split: train, Val2017, test_set.
FOLDER_NAMES: dict[Split, str] = {
    "train": "train|training",
    "validation": "val|valid|validation|dev|development",
    "test": "test|testing|eval|evaluation|holdout",
}
_BEHIND = r"[ _-]?(set|split|data|images?|img|photos?|pictures?|audio|sounds?|wavs?|files?)?[ _-]?\d*"


def split_of(group: str, *, test_share: float, validation_share: float) -> Split:
    """The side on which all rows of `group` lie, now and after any growth of the data."""
    digest = hashlib.sha256(SPLIT_VERSION + group.encode("utf-8", "surrogatepass")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test_share:
        return "test"
    return "validation" if place < test_share + validation_share else "train"


def side_named(folder: str) -> Split | None:
    """The side of the split that a folder with this name holds, if it is one of a split."""
    name = folder.strip().lower()
    return next((side for side, words in FOLDER_NAMES.items() if re.fullmatch(f"({words}){_BEHIND}", name)), None)


def side_with_folders(
    side: Split | None, given: Collection[Split | None], group: str, *, test_share: float, validation_share: float
) -> Split:
    """The side of a row whose folder says this one. Sides that no folder holds are drawn from the train rows."""
    if side in ("validation", "test"):
        return side
    return split_of(
        group,
        test_share=0 if "test" in given else test_share,
        validation_share=0 if "validation" in given else validation_share,
    )
