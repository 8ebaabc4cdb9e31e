"""In which precision matrix products are computed."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def autocast(precision: Precision) -> AbstractContextManager[object]:
    """Matrix products in bfloat16 where the settings ask for it; weights stay float32."""
    return torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()
