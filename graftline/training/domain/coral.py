"""CORAL: the features of labelled rows as if they were of the target domain, by their means and covariances."""

from dataclasses import dataclass

import torch
from torch import Tensor

# Features that never vary stay as they are.
SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True)
class Alignment:
    """An affine map of features, from one domain onto another."""

    mean: Tensor
    """(width,): of the domain that they come from."""
    matrix: Tensor
    """(width, width)"""
    onto: Tensor
    """(width,): the mean of the other domain."""

    def of(self, features: Tensor) -> Tensor:
        """(rows, width) in the place of as many."""
        return ((features.double() - self.mean) @ self.matrix + self.onto).to(features.dtype)


def alignment(source: Tensor, target: Tensor) -> Alignment:
    """The map that gives features of `source` the second-order statistics of `target`: (rows, width) each.

    CORAL (arXiv 1511.05547, algorithm 1): features are centred and divided by their spread in each domain, those of the
    source are whitened and coloured again, each covariance with the identity added so that few rows are enough. Here
    the target's spread and mean are given back afterwards, so that a head that learns from the outcome reads features
    of the target domain as they are.
    """
    mean, spread, own = _statistics(source)
    onto, wide, theirs = _statistics(target)
    return Alignment(mean, spread.reciprocal()[:, None] * (_power(own, -0.5) @ _power(theirs, 0.5)) * wide, onto)


def _statistics(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and spread of each feature, and the covariance of the scaled ones with the identity added."""
    rows = features.double()
    mean, spread = rows.mean(0), rows.std(0, correction=0)
    spread = torch.where(spread > SMALLEST_SPREAD, spread, torch.ones_like(spread))
    scaled = (rows - mean) / spread
    return mean, spread, scaled.T @ scaled / len(rows) + torch.eye(scaled.shape[1], dtype=torch.double)


def _power(covariance: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    power: Tensor = (vectors * values.pow(exponent)) @ vectors.T
    return power
