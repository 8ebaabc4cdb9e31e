"""How far apart classes lie in the features, beside how far the rows of a class are spread."""

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.metrics import Floats


def h_score(features: NDArray[np.floating], classes: NDArray[np.integer]) -> float:
    """The regularised H-score of one label per row; higher is better.

    Ibrahim et al. 2021, arXiv 2110.06893, equation 4: the trace of the inverse of the features' covariance, shrunk as
    Ledoit and Wolf 2004 do, times the covariance of the class means, shrunk alike. Features are (rows, width), classes
    (rows,).
    """
    return _scores(features, [classes])[0]


def h_score_of_labels(features: NDArray[np.floating], labels: NDArray[np.number]) -> float:
    """The mean over labels, each a question of two classes: labels are (rows, labels) of 0 and 1."""
    asked = [column for column in np.asarray(labels).T if column.any() and not column.all()]
    return float(np.mean(_scores(features, [column.astype(np.int64) for column in asked]))) if asked else 0.0


def _scores(features: NDArray[np.floating], questions: list[NDArray[np.integer]]) -> list[float]:
    from sklearn.covariance import ledoit_wolf

    centred = np.asarray(features, dtype=np.float64)
    centred = centred - centred.mean(0)
    shrunk, shrinkage = ledoit_wolf(centred, assume_centered=True)
    return [(1 - float(shrinkage)) * _between(centred, classes, shrunk) for classes in questions]


def _between(centred: Floats, classes: NDArray[np.integer], covariance: Floats) -> float:
    """The trace of the inverse covariance times that of the class means, through the few means alone."""
    names, places, counts = np.unique(classes, return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), centred.shape[1]))
    np.add.at(sums, places, centred)
    means = sums / counts[:, None]
    weighed = np.sqrt(counts / len(centred))[:, None] * means
    # A feature that never varies, in rows that hardly do, leaves nothing to divide by.
    return float((weighed * (weighed @ np.linalg.pinv(covariance, hermitian=True))).sum())
