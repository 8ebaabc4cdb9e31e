"""Folds of rows for cross-validation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def dealt_folds(clusters: NDArray[np.int64], targets: Sequence[str], *, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row (rows,): a cluster has one, and each target is spread over the folds as evenly as may be.

    Clusters are drawn at random and then dealt out in turn, sorted by the target of their first row.
    """
    found, first = np.unique(clusters, return_index=True)
    order = np.random.default_rng(seed).permutation(len(found))
    dealt = order[np.argsort(np.array([targets[first[place]] for place in order]), kind="stable")]
    fold = np.empty(len(found), np.int64)
    fold[dealt] = np.arange(len(found)) % folds
    return np.asarray(fold[np.searchsorted(found, clusters)])
