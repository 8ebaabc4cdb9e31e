"""The solved heads of all targets of a model: each at its own optimum, on the rows that have its target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graftline.frozen.rows import FeatureRows
from graftline.frozen.vectors import Vectors
from graftline.models.outputs import Outputs
from graftline.models.several import Learned, learned_of
from graftline.training.linear_head import Refit, SolvedHead, solve_head
from graftline.training.objective import Objective
from graftline.training.reweighing import OfRows
from graftline.training.several import each_of


@dataclass(frozen=True)
class SolvedHeads:
    """The heads of all targets, in the order of the outputs, as one layer."""

    weight: Tensor
    """(outputs, width)"""
    bias: Tensor
    """(outputs,)"""
    penalties: tuple[float, ...]
    """That of each target; of the first one first."""
    train_loss: float
    validation_loss: float
    """Both the mean over the targets."""
    validation_outputs: Tensor
    """(validation rows, outputs), of heads that learned from the training rows alone; 0 where a row lacks a target."""


def solve_heads(
    outputs: Outputs,
    rows: Mapping[str, FeatureRows],
    objective: Objective,
    *,
    penalties: Sequence[float | None] | None = None,
    refit: Objective | None = None,
) -> SolvedHeads:
    """Solve the head of every target by itself: with fixed features no target has to do with another.

    Each chooses its penalty on its validation rows, if none is given for its target. With `refit`, the objective of
    training and validation rows together, it learns from both in the end.
    """
    train, held = rows["train"], rows["validation"]
    learned, judged = (learned_of(outputs, side.targets) for side in (train, held))
    again = each_of(refit) if refit else [None] * len(learned)
    given = penalties or [None] * len(learned)
    solved = [
        solve_head(
            _of(own, train.vectors),
            own.targets,
            validation=(_of(beside, held.vectors), beside.targets),
            outputs=own.part.outputs.width,
            objective=OfRows(goal, _weights_of(own, train)),
            penalty=penalty,
            refit=Refit(OfRows(of_all, _both_weights(own, beside, train, held)), train.views) if of_all else None,
        )
        for own, beside, goal, of_all, penalty in zip(learned, judged, each_of(objective), again, given, strict=True)
    ]
    return SolvedHeads(
        torch.cat([one.weight for one in solved]),
        torch.cat([one.bias for one in solved]),
        tuple(one.penalty for one in solved),
        sum(one.train_loss for one in solved) / len(solved),
        sum(one.validation_loss for one in solved) / len(solved),
        _beside_one_another(judged, solved, rows=len(held.targets)),
    )


def _of(own: Learned, vectors: Vectors) -> Vectors:
    return vectors if own.rows is None else vectors[own.rows]


def _weights_of(own: Learned, rows: FeatureRows) -> Tensor | None:
    return None if rows.weights is None else own.of(rows.weights)


def _both_weights(own: Learned, beside: Learned, train: FeatureRows, held: FeatureRows) -> Tensor | None:
    """Those of the training rows, then of the validation rows, as often as these are there."""
    ours, theirs = _weights_of(own, train), _weights_of(beside, held)
    return None if ours is None or theirs is None else torch.cat([ours, *[theirs] * train.views])


def _beside_one_another(judged: Sequence[Learned], solved: Sequence[SolvedHead], *, rows: int) -> Tensor:
    columns = []
    for beside, one in zip(judged, solved, strict=True):
        column = one.validation_outputs
        if beside.rows is not None:
            column = torch.zeros(rows, column.shape[1], dtype=column.dtype)
            column[beside.rows] = one.validation_outputs
        columns.append(column)
    return torch.cat(columns, dim=1)
