"""A linear head solved to its optimum on stored features, instead of trained step by step."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from graftline.frozen.vectors import FiledVectors, Vectors
from graftline.training.objective import Objective, Separable
from graftline.training.reweighing import OfRows
from graftline.training.scaled_rows import Rows, pareto_scaling, scaled

# Strengths of the L2 penalty that are tried, from strong to weak: half decades around what suits scaled features.
PENALTIES = tuple(10 ** (-exponent / 2) for exponent in range(11))
# The weaker the penalty, the slower the solution: after this many without improvement, weaker ones will not win.
PATIENCE = 2
MAX_ITERATIONS = 500
# Largest entry of the gradient: of the result, and, in single precision, of what is only compared.
GRADIENT_TOLERANCE, ROUGH_TOLERANCE = 1e-6, 1e-4
HISTORY = 10
# Features (rows, width) and targets, one for each row; then the same as the head is solved on them.
Labelled = tuple[Vectors, Tensor]
Scaled = tuple[Rows, Tensor]


@dataclass(frozen=True)
class SolvedHead:
    """A linear head at its optimum."""

    weight: Tensor
    """(outputs, width), for features as they are, not scaled."""
    bias: Tensor
    """(outputs,)"""
    penalty: float
    train_loss: float
    """The mean loss of the training rows, without the penalty."""
    validation_loss: float
    validation_outputs: Tensor
    """(validation rows, outputs), of the head that learned from the training rows alone; the losses are its, too."""


@dataclass(frozen=True)
class Refit:
    """How a head learns from the validation rows, too, once they have chosen its penalty."""

    objective: Objective
    """Of all rows: weights of classes may be others than those of the training rows alone."""
    copies: int = 1
    """How often each validation row is there: as often as each training row, which may be in several views."""


def solve_head(
    features: Vectors,
    targets: Tensor,
    *,
    validation: Labelled,
    outputs: int,
    objective: Objective,
    penalty: float | None = None,
    refit: Refit | None = None,
) -> SolvedHead:
    """Minimise the mean loss plus `penalty` / 2 times the squared weights, by L-BFGS, for (rows, width) features.

    Without a `penalty` those of `PENALTIES` are tried from strong to weak, and the one with the lowest validation loss
    wins. A `refit` solves for that one again on training and validation rows together.
    The problem is convex, so the result depends on no seed. Of features in a file a block at a time is in memory.
    """
    scaling = pareto_scaling(features)
    in_blocks = any(isinstance(rows, FiledVectors) for rows in (features, validation[0]))
    # Made where they are used: at no time do the rows lie in memory scaled in two ways.
    rows = partial(scaled, scaling=scaling, in_blocks=in_blocks)
    start = torch.zeros(outputs, len(scaling.mean) + 1)
    if penalty is None:
        penalty, start = _best_penalty(start, (features, targets), validation, rows, objective=objective)
    minimised = partial(_minimised, penalty=penalty, tolerance=GRADIENT_TOLERANCE)
    train = rows([features])
    solution = minimised(start.double(), (train, targets), objective=objective)
    train_loss, _ = _descent(train, targets, objective, solution)
    del train
    outputs_of_held = rows([validation[0]]).logits(solution)
    if refit:
        of_all = torch.cat([targets, *[validation[1]] * refit.copies])
        together = rows([features, *[validation[0]] * refit.copies])
        solution = minimised(solution, (together, of_all), objective=refit.objective)
    weight = solution[:, :-1] * scaling.scale
    return SolvedHead(
        weight=weight.float(),
        bias=(solution[:, -1] - weight @ scaling.mean).float(),
        penalty=penalty,
        train_loss=float(train_loss),
        validation_loss=float(objective.validation_loss(outputs_of_held, validation[1])),
        validation_outputs=outputs_of_held.float(),
    )


def _best_penalty(
    start: Tensor, train: Labelled, validation: Labelled, rows: Callable[..., Rows], *, objective: Objective
) -> tuple[float, Tensor]:
    """The penalty with the lowest validation loss and a rough solution for it, each tried from the one before it.

    `rows` scales vectors, here in single precision.
    """
    solution, tried = start, []
    (features, targets), (held, held_targets) = (
        (rows([vectors], dtype=torch.float32), of_rows) for vectors, of_rows in (train, validation)
    )
    for penalty in PENALTIES:
        of_train = features, targets
        solution = _minimised(solution, of_train, objective=objective, penalty=penalty, tolerance=ROUGH_TOLERANCE)
        loss = float(objective.validation_loss(held.logits(solution), held_targets))
        tried.append((loss, -penalty, solution))
        if len(tried) - 1 - min(range(len(tried)), key=lambda place: tried[place][:2]) >= PATIENCE:
            break
    _, negative, rough = min(tried, key=lambda entry: entry[:2])
    return -negative, rough


def _minimised(start: Tensor, rows: Scaled, *, objective: Objective, penalty: float, tolerance: float) -> Tensor:
    """The weights and, in the last column, biases that are best for these rows: (outputs, width + 1)."""
    features, targets = rows
    solution = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [solution],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=0.0,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        weights = solution.detach()[:, :-1]
        loss, gradient = _descent(features, targets, objective, solution.detach())
        # The bias stays free: a penalty on it would pull towards equal classes.
        gradient[:, :-1] += penalty * weights
        solution.grad = gradient
        return loss + penalty / 2 * weights.square().sum()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return solution.detach()


def _descent(features: Rows, targets: Tensor, objective: Objective, solution: Tensor) -> tuple[Tensor, Tensor]:
    """The mean loss of the rows under a solution and its gradient: (outputs, width + 1)."""
    plain, weights = (objective.objective, objective.weights) if isinstance(objective, OfRows) else (objective, None)
    in_parts = isinstance(plain, Separable)
    counted = plain.counted if isinstance(plain, Separable) else len
    whole = counted(targets)

    def loss_of(outputs: Tensor, rows: slice) -> Tensor:
        loss = plain.loss(outputs, targets[rows], None if weights is None else weights[rows])
        return loss * (counted(targets[rows]) / whole)

    return features.descent(solution, loss_of, in_parts=in_parts)
