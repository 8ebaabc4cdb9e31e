"""Slices that nobody named: the clusters of held-out rows in which a model does worst."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2, vq

from graftline.evaluation.comparison import Slice
from graftline.evaluation.metrics import Floats, Integers

COLUMN = "cluster, found by its features and not named"
# A cluster of fewer rows says little; more than so many nobody looks at.
ROWS_PER_CLUSTER, MOST_CLUSTERS = 100, 20
WORST, EXAMPLES = 3, 3
STARTS, ITERATIONS = 4, 50
# Of rows that do not all lie in memory the middles are found on so many numbers of some: 32 MB, and 500 rows or more
# for a cluster of vectors of up to 400 numbers.
SAMPLED_NUMBERS = 1 << 22


class Blocks(Protocol):
    """Vectors of more rows than lie in memory."""

    def __len__(self) -> int: ...

    @property
    def width(self) -> int: ...

    def at(self, places: Integers) -> Floats:
        """Those of some rows: (places, width)."""
        ...

    def blocks(self) -> Iterator[Floats]:
        """All of them, one block of rows after the other."""
        ...


def worst_clusters(vectors: Floats | Blocks, quality: Floats, names: Sequence[str], *, seed: int) -> list[Slice]:
    """The clusters with the lowest mean `quality` (rows,), worst first, each named after the rows in its middle.

    `vectors` (rows, width) are what the head reads. They are the worst of many, so they look somewhat worse than they
    are: a place to look for a cause, no ground for a verdict.
    """
    count = min(MOST_CLUSTERS, len(vectors) // ROWS_PER_CLUSTER)
    if count < 2:
        return []
    places, distances = _clusters(vectors, count, seed)
    # Where vectors are equal, there are fewer clusters than were asked for.
    found = np.unique(places)
    means = [quality[places == number].mean() for number in found]
    slices = []
    for number in found[np.argsort(means, kind="stable")[:WORST]]:
        members = np.flatnonzero(places == number)
        middle = members[np.argsort(distances[members], kind="stable")[:EXAMPLES]]
        slices.append(Slice(COLUMN, f"like {', '.join(names[row] for row in middle)}", places == number))
    return slices


def _clusters(vectors: Floats | Blocks, count: int, seed: int) -> tuple[NDArray[np.int32], Floats]:
    """The cluster of each row and its distance from that cluster's middle, both (rows,): the best of some k-means.

    By scipy, whose sums do not depend on how many threads there are; scikit-learn's do.
    """
    tried = (_k_means(vectors, count, np.random.default_rng([seed, start])) for start in range(STARTS))
    return min(tried, key=lambda one: float(np.square(one[1]).sum()))


def _k_means(vectors: Floats | Blocks, count: int, random: np.random.Generator) -> tuple[NDArray[np.int32], Floats]:
    some = vectors if isinstance(vectors, np.ndarray) else _sampled(vectors, random)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about clusters that end up empty, and vectors that are all equal
        middles, _ = kmeans2(some, count, iter=ITERATIONS, minit="++", rng=random)
    blocks = [vectors] if isinstance(vectors, np.ndarray) else vectors.blocks()
    nearest = [vq(block, middles) for block in blocks]
    places, distances = (np.concatenate(of_blocks) for of_blocks in zip(*nearest, strict=True))
    return places.astype(np.int32), np.asarray(distances, dtype=np.float64)


def _sampled(vectors: Blocks, random: np.random.Generator) -> Floats:
    """Those of rows that are drawn at random, in order."""
    rows = min(len(vectors), SAMPLED_NUMBERS // vectors.width)
    return vectors.at(np.sort(random.choice(len(vectors), rows, replace=False)))
