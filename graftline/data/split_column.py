"""The side of the split of every row: a byte each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from graftline.data.splitting import SPLITS, Split


@dataclass(frozen=True, eq=False)
class SplitColumn(Sequence[Split]):
    """Sides by their places in `SPLITS`, which a model sees in this order."""

    places: NDArray[np.int8]

    @classmethod
    def of(cls, splits: Iterable[Split]) -> "SplitColumn":
        """The same sides in a byte each."""
        if isinstance(splits, SplitColumn):
            return splits
        return cls(np.fromiter(map(SPLITS.index, splits), np.int8))

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> Split: ...
    @overload
    def __getitem__(self, place: slice) -> "SplitColumn": ...
    def __getitem__(self, place: int | slice) -> "Split | SplitColumn":
        return SplitColumn(self.places[place]) if isinstance(place, slice) else SPLITS[self.places[place]]

    def at(self, places: "Sequence[int] | NDArray[np.int64]") -> "SplitColumn":
        """The sides of some rows, in this order."""
        return SplitColumn(self.places[np.asarray(places, np.int64)])
