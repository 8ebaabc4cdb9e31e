"""AdamW with a learning rate for each depth, and how these rates rise and fall."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from graftline.frozen.freezing import trainable
from graftline.models.parts import HEAD
from graftline.training.plan import Plan


def optimizer_for(model: nn.Module, plan: Plan, *, depths: Mapping[str, int]) -> torch.optim.AdamW:
    """AdamW with a group for each learning rate and weight decay: heads, and blocks by their depth."""
    deepest = max(depths.values(), default=0)
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, tensor in trainable(model).items():
        below = deepest - depths.get(name, deepest)
        is_head = name.startswith(f"{HEAD}.")
        rate = plan.head_learning_rate if is_head else plan.learning_rate * plan.layer_decay**below
        groups.setdefault((rate, plan.weight_decay if tensor.ndim > 1 else 0.0), []).append(tensor)
    return torch.optim.AdamW(
        [
            {"params": members, "lr": rate, "weight_decay": decay, "highest": rate}
            for (rate, decay), members in groups.items()
        ],
        fused=True,
    )


def set_learning_rates(optimizer: torch.optim.Optimizer, plan: Plan, step: int, steps: int) -> None:
    """Up along a straight line, then down to zero, along a straight line or half a cosine."""
    warmup = max(1, round(plan.warmup_share * steps))
    falling = (steps - step) / max(1, steps - warmup)
    if plan.schedule == "cosine":
        falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, falling))
    share = min((step + 1) / warmup, falling)
    for group in optimizer.param_groups:
        group["lr"] = group["highest"] * share
