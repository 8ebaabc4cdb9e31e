"""The learning-rate range test."""

import itertools
from dataclasses import replace

import torch

from graftline.compute.device import device_of
from graftline.compute.fast_training import fast_training
from graftline.frozen.freezing import learned, train_mode
from graftline.training.averaging import copied
from graftline.training.loop import batch_groups, training_step
from graftline.training.optimizer import optimizer_for
from graftline.training.plan import Training
from graftline.training.progress import DivergedError

# From a rate at which nothing learns to one at which everything diverges.
RANGE_STEPS, RANGE_LOWEST, RANGE_HIGHEST = 100, 1e-7, 1.0
RANGE_SMOOTHING, RANGE_STOP = 0.9, 4.0
# A smaller fall of the loss than to this share is noise.
RANGE_FALL = 0.97


def find_learning_rate(training: Training) -> float | None:
    """A learning rate for the pre-trained part, by a range test (Smith 2015, arXiv 1506.01186), or None.

    The rate grows from step to step by the same factor, that of the head with it, and the training stops when the
    smoothed loss has grown to `RANGE_STOP` times its first value. The rate a tenth of that with the lowest loss is
    still well in the falling part, as fastai takes it. None: the loss fell at no rate. The model is left as it was.
    """
    model, point = training.model, training.point
    flat = replace(training, rows=training.rows.in_epoch(0), plan=replace(training.plan, layer_decay=1.0))
    start = copied(learned(model, point))
    optimizer = optimizer_for(model, flat.plan, depths=point.depths)
    torch.manual_seed(flat.plan.seed)
    train_mode(model, point)
    try:
        with fast_training(device_of(model)):
            seen = _losses(flat, optimizer)
    finally:
        model.load_state_dict(start, strict=False)
        optimizer.zero_grad(set_to_none=True)  # of batches that came before the one that diverged
    # The first batches decide alone what the smoothed loss is, so by chance it may be low there.
    settled = seen[RANGE_STEPS // 10 :]
    if not settled or min(settled)[0] >= RANGE_FALL * seen[0][0]:
        return None
    return min(settled)[1] / 10


def _losses(training: Training, optimizer: torch.optim.Optimizer) -> list[tuple[float, float]]:
    """The smoothed loss at each rate, and the rate, up to that at which the training diverges."""
    groups = itertools.cycle(batch_groups(training.rows, training.plan, epoch=0))
    seen: list[tuple[float, float]] = []
    smoothed = 0.0
    for step in range(RANGE_STEPS):
        rate = RANGE_LOWEST * (RANGE_HIGHEST / RANGE_LOWEST) ** (step / (RANGE_STEPS - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["highest"] / training.plan.learning_rate
        try:
            loss = training_step(training, next(groups), optimizer=optimizer)
        except DivergedError:
            break  # which is what the test is for
        smoothed = RANGE_SMOOTHING * smoothed + (1 - RANGE_SMOOTHING) * loss
        # Corrected for its start at zero, as in Adam.
        seen.append((smoothed / (1 - RANGE_SMOOTHING ** (step + 1)), rate))
        if seen[-1][0] > RANGE_STOP * seen[0][0]:
            break
    return seen
