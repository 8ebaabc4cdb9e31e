"""All that the kept output of a frozen part depends on: the key of a store, and the keys of the rows in it.

What is the same for all rows of a training is in the key of their store, `KeptUnder`. What differs from row to row is
in the row's own key: what is read of it, how many rows run together and how they are padded, and its random view. That
one comes from the row's preprocessor, because a view draws its random numbers from the same key: `Preprocessor.key`,
made by `row_key` in `graftline/models/preprocessing.py`, with the version of the views in `graftline/models/views.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from graftline.compute.precision import Precision
from graftline.digests import json_sha256
from graftline.frozen.rows import InputRows
from graftline.frozen.store_index import StoredPrecision
from graftline.models.preprocessing import KEY_DIGITS
from graftline.settings.adaptation import Runtime

# Raised whenever `running.py`, or what it calls, gives other bits: what lies in stores was computed the old way.
FROZEN_PART_VERSION = 3
# They compute the frozen part of every model. Its preprocessor may need more.
LIBRARIES = ("torch", "transformers", "numpy")


@dataclass(frozen=True)
class KeptUnder:
    """All that the kept output depends on, apart from the row."""

    base_digest: str
    """Of the base model's files."""
    first_trainable: str | None
    """Where the frozen part ends."""
    threads: int
    device: str
    precision: Precision
    feature_precision: StoredPrecision
    runtime: Runtime
    versions: tuple[str, ...]
    """Of `LIBRARIES`, and then of the libraries that read and compute such rows."""


def store_key(kept: KeptUnder) -> str:
    """The name of the store for what is kept under these, in hexadecimal digits."""
    computed: list[JsonValue] = [kept.threads, kept.device, kept.precision, kept.feature_precision, kept.runtime]
    # Always in this order: in another one, no store that exists would be found.
    parts = [FROZEN_PART_VERSION, kept.base_digest, kept.first_trainable, *computed, *kept.versions]
    return json_sha256(parts)[:KEY_DIGITS]


class RowKeys(Sequence[str]):
    """The keys of many rows, sixteen bytes each, in place of a list of texts, which takes six times as much."""

    def __init__(self, digests: NDArray[np.uint8]) -> None:
        """(rows, bytes)"""
        self._digests = digests

    @classmethod
    def of(cls, keys: Iterable[str]) -> "RowKeys":
        """These keys, in hexadecimal digits."""
        if isinstance(keys, RowKeys):
            return keys
        digests = bytearray()
        for key in keys:
            digests += bytes.fromhex(key)
        return cls(np.frombuffer(digests, np.uint8).reshape(-1, KEY_DIGITS // 2))

    @classmethod
    def joined(cls, parts: "Iterable[RowKeys]") -> "RowKeys":
        """The keys of all parts, in order."""
        return cls(np.concatenate([part._digests for part in parts]))

    def __len__(self) -> int:
        return len(self._digests)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "RowKeys": ...
    def __getitem__(self, place: int | slice) -> "str | RowKeys":
        if isinstance(place, slice):
            return RowKeys(self._digests[place])
        return bytes(self._digests[place]).hex()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def each_once(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of the rows at these places the first with each key, in order."""
        as_one = np.ascontiguousarray(self._digests[places]).view(f"S{self._digests.shape[1]}").ravel()
        return places[np.sort(np.unique(as_one, return_index=True)[1])]


def row_keys(rows: InputRows) -> RowKeys:
    """A name for what the model reads of each row: equal inputs share one entry in the store."""
    return RowKeys.of(rows.preprocessor.key(row) for row in rows.encoded)
