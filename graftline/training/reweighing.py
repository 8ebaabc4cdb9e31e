"""Weights of rows with which groups and labels are independent of each other, and the objective that counts by them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from graftline.training.objective import Objective


@dataclass(frozen=True, eq=False)
class OfRows:
    """An objective for one set of rows, always whole and in the same order, each of which counts as its weight says."""

    objective: Objective
    weights: Tensor | None
    """(rows,), or (rows, labels); None: all alike."""

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        return self.objective.loss(outputs, targets, self.weights if weights is None else weights)

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.objective.validation_loss(outputs, targets)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        return self.objective.score(outputs, targets)


def balancing_weights(groups: Sequence[str], targets: Tensor) -> Tensor:
    """The weight of each row: P(group) P(label) / P(group, label), 1 on average, if every group has every label.

    With it each label is as frequent in one group as in all rows (Kamiran and Calders 2012, doi
    10.1007/s10115-011-0463-8). `targets` are classes (rows,), or of several labels (rows, labels), where each label has
    weights of its own, those of rows with and without it. Returns: as `targets`.
    """
    _, places = np.unique(np.array(groups), return_inverse=True)
    of_group = torch.from_numpy(places.astype(np.int64))
    if targets.ndim == 1:
        return _weights(of_group, targets)
    return torch.stack([_weights(of_group, (label > 0).long()) for label in targets.T], dim=1)


def _weights(groups: Tensor, classes: Tensor) -> Tensor:
    rows = len(classes)
    both = torch.zeros(int(groups.max()) + 1, int(classes.max()) + 1, dtype=torch.float64)
    both.index_put_((groups, classes), torch.ones(rows, dtype=torch.float64), accumulate=True)
    alone = both.sum(1, keepdim=True) * both.sum(0, keepdim=True) / rows
    return (alone / both.clamp(min=1))[groups, classes].float()
