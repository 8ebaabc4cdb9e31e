"""LogME: how probable the targets are under a Bayesian linear model of the features."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graftline.evaluation.metrics import Floats

# The fixed point is reached when the mean evidence of a row moves by less; it does within some dozens of steps.
TOLERANCE, MOST_STEPS = 1e-9, 1_000
# Directions with less of the largest direction's spread hold rounding errors, as does what is left of targets below
# such a share of their length: where features tell them wholly, the evidence would be infinite.
SMALLEST_SHARE = 1e-12


@dataclass(frozen=True)
class _Directions:
    """The features by their own directions."""

    spreads: Floats
    """The squared singular values: (directions,)."""
    axes: Floats
    """(width, directions)"""
    width: int


def log_evidence(features: NDArray[np.floating], columns: NDArray[np.floating]) -> float:
    """The largest mean log evidence of a row, averaged over the columns of targets; higher is better.

    LogME of You et al. 2021, arXiv 2102.11005: weights drawn with precision alpha, targets with precision beta, both
    chosen where the evidence is highest. Features are (rows, width), `columns` (rows, targets): a column of 0 and 1 for
    each label, or a number. The fixed point in the features' own directions is that of arXiv 2110.10545. A column that
    is the same in all rows asks nothing and is left out.
    """
    rows = np.asarray(features, dtype=np.float64)
    directions = _directions(rows)
    asked = [column for column in np.asarray(columns, dtype=np.float64).T if np.ptp(column) > 0]
    return float(np.mean([_of_column(rows, directions, column) for column in asked])) if asked else 0.0


def _directions(rows: Floats) -> _Directions:
    """By the products of the features, which is several times as fast as the singular values of all rows."""
    spreads, axes = np.linalg.eigh(rows.T @ rows)
    kept = spreads > SMALLEST_SHARE * spreads[-1]
    return _Directions(spreads[kept], axes[:, kept], rows.shape[1])


def _of_column(rows: Floats, directions: _Directions, column: Floats) -> float:
    count, spreads = len(column), directions.spreads
    along = directions.axes.T @ (rows.T @ column) / np.sqrt(spreads)
    outside = max(float(column @ column - along @ along), 0.0)
    least = SMALLEST_SHARE * float(column @ column)
    alpha = beta = 1.0
    before = -math.inf
    for _ in range(MOST_STEPS):
        precisions = alpha + beta * spreads
        weights = float((beta**2 * spreads * along**2 / precisions**2).sum())
        residual = max(float(((alpha * along / precisions) ** 2).sum()) + outside, least)
        evidence = _evidence(alpha, beta, count, directions, weights, residual) / count
        if abs(evidence - before) < TOLERANCE:
            break
        before = evidence
        known = float((beta * spreads / precisions).sum())
        alpha = known / max(weights, np.finfo(float).tiny)
        beta = (count - known) / residual
    return evidence


def _evidence(alpha: float, beta: float, count: int, directions: _Directions, weights: float, residual: float) -> float:
    """Equation 2 of the paper, of all rows; `weights` and `residual` are squared lengths."""
    width, spreads = directions.width, directions.spreads
    log_determinant = np.log(alpha + beta * spreads).sum() + (width - len(spreads)) * math.log(alpha)
    logs = count * math.log(beta) + width * math.log(alpha) - count * math.log(2 * math.pi) - log_determinant
    return float(logs - beta * residual - alpha * weights) / 2
