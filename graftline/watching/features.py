"""Two-sample statistics on what a model's head reads: the kernel's mean distance, and a classifier's."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from graftline.evaluation.metrics import Floats
from graftline.watching.permutations import Membership, Statistic

Vectors = NDArray[np.float32]
# The median of distances needs no more rows than these.
MEDIAN_ROWS = 1_000
# Added to the features' correlations, whose diagonal is 1: with as many features as rows these have no inverse.
RIDGE = 0.5


def median_distance(vectors: Vectors) -> float:
    """The median distance between two of the rows (rows, width), the usual bandwidth of the kernel; 1 if it is 0.

    Source: Gretton et al. 2012, JMLR 13, section 8. Taken from the held-out rows, once.
    """
    from scipy.spatial.distance import pdist

    distances = pdist(vectors[:MEDIAN_ROWS].astype(np.float64))
    return float(np.median(distances)) or 1.0 if len(distances) else 1.0


def kernel_distance(vectors: Vectors, bandwidth: float) -> Statistic:
    """The unbiased squared maximum mean discrepancy under exp(-d² / 2 bandwidth²): Gretton et al. 2012, equation 3."""
    kernel = _kernel(vectors, bandwidth)
    sums = kernel.sum(1)
    total = float(sums.sum())

    def statistic(members: Membership) -> Floats:
        today = members[:, 0].sum()
        others = len(members) - today
        inside = np.einsum("rc,rc->c", kernel @ members, members)
        of_members = sums @ members
        outside = total - 2 * of_members + inside
        across = of_members - inside
        return np.asarray(
            inside / (today * (today - 1)) + outside / (others * (others - 1)) - 2 * across / (today * others),
            dtype=np.float64,
        )

    return statistic


def classifier_accuracy(vectors: Vectors, random: np.random.Generator) -> Statistic:
    """How well a linear classifier tells the chosen rows from the others: area under the ROC curve, cross-fitted.

    Logistic regression with a ridge, one Newton step from zero, by which it is Fisher's discriminant and a permutation
    costs two matrix products instead of a fit; learned on one half of the rows and asked on the other, both ways. The
    test: Lopez-Paz and Oquab 2017, arXiv 1610.06545; the area instead of the accuracy since the samples differ in size.
    """
    rows = len(vectors)
    order = random.permutation(rows)
    halves = (order[: rows // 2], order[rows // 2 :])
    spread = vectors.std(0)
    scaled = ((vectors - vectors.mean(0)) / np.where(spread > 0, spread, 1)).astype(np.float32)
    solved = [_solved(scaled[half]) for half in halves]

    def statistic(members: Membership) -> Floats:
        areas = []
        for learned, asked, solve in ((*halves, solved[0]), (*halves[::-1], solved[1])):
            labels = members[learned]
            scores = scaled[asked] @ (solve @ (labels - labels.mean(0)))
            areas.append(_area(scores, members[asked]))
        return np.asarray(np.mean(areas, axis=0), dtype=np.float64)

    return statistic


def _kernel(vectors: Vectors, bandwidth: float) -> NDArray[np.float32]:
    """(rows, rows), zero between a row and itself."""
    centred = vectors - vectors.mean(0)
    squares = np.einsum("rw,rw->r", centred, centred)
    distances = squares[:, None] + squares[None] - 2 * (centred @ centred.T)
    kernel = np.exp(-np.maximum(distances, 0) / (2 * bandwidth**2))
    # A constant changes nothing in the statistic; without it sums of thousands of rows keep their digits.
    kernel = (kernel - kernel.mean()).astype(np.float32)
    np.fill_diagonal(kernel, 0)
    return np.asarray(kernel)


def _solved(rows: Vectors) -> NDArray[np.float32]:
    """From centred labels to weights: (width, rows)."""
    centred = rows - rows.mean(0)
    correlations = centred.T @ centred / len(rows)
    correlations[np.diag_indices_from(correlations)] += RIDGE
    return np.asarray(np.linalg.solve(correlations, centred.T / len(rows)), dtype=np.float32)


def _area(scores: NDArray[np.float32], members: Membership) -> Floats:
    """The area under the curve of each column; a half where one of the samples is empty."""
    ranks = rankdata(scores, axis=0)
    today = members.sum(0)
    pairs = today * (len(members) - today)
    above = (ranks * members).sum(0) - today * (today + 1) / 2
    return np.asarray(np.divide(above, pairs, out=np.full(len(today), 0.5), where=pairs > 0))
