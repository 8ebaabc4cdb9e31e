"""Rates that should be alike in all groups of people."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.metrics import Floats


@dataclass(frozen=True)
class Rate:
    """A share of rows: of those `among` the ones that are `hit`, both (rows, labels)."""

    hit: Floats
    among: Floats


def everyone(rows: int) -> Floats:
    """All rows, whatever their label: (rows, 1)."""
    return np.ones((rows, 1))


def rates_of_labels(quality: Floats, given: NDArray[np.bool_], there: NDArray[np.bool_]) -> dict[str, Rate]:
    """How often an answer is right (rows,), and a label given, also to rows that have it, and to those that have not.

    The last three are fairlearn's: demographic parity, and equalized odds (Hardt et al. 2016, arXiv 1610.02413).
    `given` and `there` are (rows, labels).
    """
    return {
        "right answers": Rate(quality[:, None], everyone(len(quality))),
        "selection rate": Rate(given.astype(float), np.ones(given.shape)),
        "true positive rate": Rate((given & there).astype(float), there.astype(float)),
        "false positive rate": Rate((given & ~there).astype(float), (~there).astype(float)),
    }
