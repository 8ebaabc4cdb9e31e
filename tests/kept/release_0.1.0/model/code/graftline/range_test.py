"""The learning-rate range test."""

import itertools
from dataclasses import replace

import torch
from torch import nn

from graftline.averaging import copied
from graftline.device import device_of
from graftline.fast_training import fast_training
from graftline.freezing import FreezePoint, learned, train_mode
from graftline.objective import Objective
from graftline.optimizer import optimizer_for
from graftline.training import batch_groups, training_step
from graftline.training_plan import DivergedError, Plan, Rows

# From a rate at which nothing learns to one at which everything diverges.
RANGE_STEPS, RANGE_LOWEST, RANGE_HIGHEST = 100, 1e-7, 1.0
RANGE_SMOOTHING, RANGE_STOP = 0.9, 4.0
# A smaller fall of the loss than to this share is noise.
RANGE_FALL = 0.97


def find_learning_rate(
    model: nn.Module,
    point: FreezePoint,
    *,
    rows: Rows,
    plan: Plan,
    head: str,
    objective: Objective,
) -> float | None:
    """A learning rate for the pre-trained part, by a range test (Smith 2015, arXiv 1506.01186), or None.

    The rate grows from step to step by the same factor, that of the head with it, and the training stops when the
    smoothed loss has grown to `RANGE_STOP` times its first value. The rate a tenth of that with the lowest loss is
    still well in the falling part, as fastai takes it. None: the loss fell at no rate. The model is left as it was.
    """
    rows, start = rows.in_epoch(0), copied(learned(model, point))
    flat = replace(plan, layer_decay=1.0)
    optimizer = optimizer_for(model, flat, head, point.depths)
    torch.manual_seed(plan.seed)
    train_mode(model, point)
    groups = itertools.cycle(batch_groups(rows, plan, epoch=0))
    seen: list[tuple[float, float]] = []
    smoothed = 0.0
    try:
        with fast_training(device_of(model)):
            for step in range(RANGE_STEPS):
                rate = RANGE_LOWEST * (RANGE_HIGHEST / RANGE_LOWEST) ** (step / (RANGE_STEPS - 1))
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["highest"] / plan.learning_rate
                smoothed = RANGE_SMOOTHING * smoothed + (1 - RANGE_SMOOTHING) * training_step(
                    model, optimizer, rows, next(groups), objective, plan, {}
                )
                # Corrected for its start at zero, as in Adam.
                seen.append((smoothed / (1 - RANGE_SMOOTHING ** (step + 1)), rate))
                if seen[-1][0] > RANGE_STOP * seen[0][0]:
                    break
    except DivergedError:
        pass  # which is what the test is for
    finally:
        model.load_state_dict(start, strict=False)
        optimizer.zero_grad(set_to_none=True)  # of batches that came before the one that diverged
    # The first batches decide alone what the smoothed loss is, so by chance it may be low there.
    settled = seen[RANGE_STEPS // 10 :]
    if not settled or min(settled)[0] >= RANGE_FALL * seen[0][0]:
        return None
    return min(settled)[1] / 10
