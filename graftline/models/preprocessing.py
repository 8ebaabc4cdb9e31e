"""Inputs on their way into a model, and all that their kinds have in common there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from graftline.digests import lines_sha256
from graftline.models.views import View
from graftline.settings import Kind

# An input from a client or a table: a text; bytes, base64 or a path; a Medium.
Raw = Any
# A row that a model can read; only its own preprocessor looks inside.
Encoded = Any
KEY_DIGITS = 32


@dataclass(frozen=True)
class Reading:
    """The kind of the inputs, and where they are cut. Travels with an adapted model."""

    kind: Kind
    max_tokens: int = 128
    max_seconds: float = 30.0
    sample_bits: int = 16
    """Of pictures of 16 bits a sample that do not say how many of them they use."""


class Preprocessor(Protocol):
    """Makes raw inputs into tensors, as the base model's publisher did."""

    @property
    def reading(self) -> Reading: ...
    @property
    def batch_length(self) -> int:
        """The length that a batch of the frozen part adds up to: fills the processor, but not more than its caches."""
        ...

    @property
    def mixes_lengths(self) -> bool:
        """Whether a row gets the same answer beside a longer one. If not, the model hears the padding."""
        ...

    def encode(self, raws: Iterable[Raw]) -> Sequence[Encoded]:
        """One row per raw input, which are read once. Raises: ValueError naming the first that is no such input."""
        ...

    def length(self, row: Encoded) -> int:
        """The number that batches are grouped by: rows of equal length need no padding beside each other."""
        ...

    def padded(self, row: Encoded) -> Encoded:
        """The row as the frozen part runs it: padded to one of few lengths where a mask hides the padding."""
        ...

    def key(self, row: Encoded) -> str:
        """A name for what the model reads of the row, in hexadecimal digits."""
        ...

    def carried(self, row: Encoded) -> Encoded:
        """The row with the bytes of its file, for a machine that sees no files. Raises: as reading the file does."""
        ...

    def in_view(self, row: Encoded, view: View) -> Encoded:
        """The row as it is seen in one of its random views. Raises: SettingsError if such inputs have none."""
        ...

    def collate(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """The batch that the model reads, padded on the right to its longest row. Files are read and decoded here.

        Raises: ValueError naming the first row that cannot be read.
        """
        ...

    def blank(self, rows: Sequence[Encoded]) -> dict[str, Tensor] | None:
        """A batch of the shapes and masks of `collate`, for which no file is read. None: collating costs nothing."""
        ...

    def batches(self, lengths: Sequence[int]) -> Sequence[list[int]]:
        """Row numbers in batches for prediction."""
        ...

    def save(self, folder: Path) -> None:
        """Write what loading it again needs, apart from the reading."""
        ...


def row_key(computed: str, read: Sequence[str], view: View | None = None) -> str:
    """The name of a row, in hexadecimal digits; what is kept of it goes by this name, and its view is seeded by it.

    `computed` says which rows run together and how they are padded: the last bits of what is kept depend on it. `read`
    says what the model reads of the row.
    """
    return lines_sha256([computed, *read, *([] if view is None else view.key_parts)])[:KEY_DIGITS]
