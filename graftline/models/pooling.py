"""One vector per row from what a backbone says of its tokens or frames."""

from typing import Literal

import torch
from torch import Tensor

# How a backbone's output becomes one vector per row; "own": the backbone does it itself.
Pooling = Literal["mean", "first", "last", "own"]


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector per row from (batch, tokens, width), of the tokens that are no padding: (batch, width)."""
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)
    positions = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    if pooling == "last":
        chosen = positions.where(mask.bool(), -1).amax(1)
    else:
        chosen = positions.where(mask.bool(), mask.shape[1]).amin(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), chosen]
