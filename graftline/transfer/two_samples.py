"""Two-sample statistics on what a model's head reads: the kernel's mean distance, and a classifier's."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from graftline.evaluation.metrics import Floats, Integers
from graftline.transfer.permutations import Membership, Statistic

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
        today = members.sum(0)
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

    The test: Lopez-Paz and Oquab 2017, arXiv 1610.06545; the area instead of the accuracy since the samples differ in
    size.
    """
    classifier = _CrossFitted(vectors, _halves(np.arange(len(vectors)), random))

    def statistic(members: Membership) -> Floats:
        areas = [_area(asked, members[half]) for half, asked, _ in classifier.scores(members)]
        return np.asarray(np.mean(areas, axis=0), dtype=np.float64)

    return statistic


def classifier_error(vectors: Vectors, random: np.random.Generator, units: Integers | None = None) -> Statistic:
    """How often such a classifier takes a row for one of the other sample's, each sample with the same weight.

    Rows of one unit (rows,) lie in the same half: otherwise it would know them again. A half that has rows of one
    sample only tells nothing, and counts as one half.
    """
    classifier = _CrossFitted(vectors, _halves(np.arange(len(vectors)) if units is None else units, random))

    def statistic(members: Membership) -> Floats:
        wrong = [_balanced_error(asked > bound, members[half]) for half, asked, bound in classifier.scores(members)]
        return np.asarray(np.mean(wrong, axis=0), dtype=np.float64)

    return statistic


class _CrossFitted:
    """A linear classifier for any choice of rows, learned on one half of them and asked on the other, both ways.

    Logistic regression with a ridge, one Newton step from zero, by which it is Fisher's discriminant and a choice costs
    a few matrix products instead of a fit.
    """

    def __init__(self, vectors: Vectors, halves: tuple[Integers, Integers]) -> None:
        spread = vectors.std(0)
        self._scaled = ((vectors - vectors.mean(0)) / np.where(spread > 0, spread, 1)).astype(np.float32)
        self._halves = halves
        self._solved = [_solved(self._scaled[half]) for half in halves]

    def scores(self, members: Membership) -> Iterator[tuple[Integers, NDArray[np.float32], Floats]]:
        """Of each half the rows, what they are given (rows, choices), and above which bound a row counts as chosen."""
        for learned, asked, solve in zip(self._halves, self._halves[::-1], self._solved, strict=True):
            labels = members[learned]
            weights = solve @ (labels - labels.mean(0))
            yield asked, self._scaled[asked] @ weights, _middle(self._scaled[learned] @ weights, labels)


def _halves(units: Integers, random: np.random.Generator) -> tuple[Integers, Integers]:
    """The rows of a random half of the units, and all others."""
    places = np.unique(units, return_inverse=True)[1]
    count = int(places.max()) + 1
    drawn = np.argsort(random.permutation(count))[places]  # at which place the unit of a row was drawn
    rows, first = np.argsort(drawn, kind="stable"), int((drawn < count // 2).sum())
    return rows[:first], rows[first:]


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


def _middle(scores: NDArray[np.float32], members: Membership) -> Floats:
    """Halfway between the mean score of the chosen rows and that of the others, of each column."""
    today = members.sum(0)
    of_members, all_scores = (scores * members).sum(0), scores.sum(0)
    others = len(members) - today
    return np.asarray((of_members / np.maximum(today, 1) + (all_scores - of_members) / np.maximum(others, 1)) / 2)


def _balanced_error(taken: NDArray[np.bool_], members: Membership) -> Floats:
    """The mean of the shares of either sample that are taken for the other one; a half where one of them is empty."""
    today = members.sum(0)
    others = len(members) - today
    missed, false = ((~taken) * members).sum(0), (taken * (1 - members)).sum(0)
    mean = (missed / np.maximum(today, 1) + false / np.maximum(others, 1)) / 2
    return np.asarray(np.where((today > 0) & (others > 0), mean, 0.5))


def _area(scores: NDArray[np.float32], members: Membership) -> Floats:
    """The area under the curve of each column; a half where one of the samples is empty."""
    ranks = rankdata(scores, axis=0)
    today = members.sum(0)
    pairs = today * (len(members) - today)
    above = (ranks * members).sum(0) - today * (today + 1) / 2
    return np.asarray(np.divide(above, pairs, out=np.full(len(today), 0.5), where=pairs > 0))
