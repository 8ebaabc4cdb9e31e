"""In which precision matrix products are computed."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import nn

from graftline.compute.device import CPU
from graftline.compute.machine import BFLOAT16_INSTRUCTIONS

Precision = Literal["float32", "bfloat16"]


def fastest_precision(device: str = "cpu") -> Precision:
    """bfloat16 where the device has instructions for its matrix products, else float32."""
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    able = torch.cpu.get_capabilities()
    return "bfloat16" if any(able.get(name) for name in BFLOAT16_INSTRUCTIONS) else "float32"


def autocast(precision: Precision, device: torch.device = CPU) -> AbstractContextManager[object]:
    """Matrix products in bfloat16 where the settings ask for it; weights stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()


@contextmanager
def narrowed(model: nn.Module, modules: Iterable[str], precision: Precision) -> Iterator[None]:
    """Inside, the weights of the matrix products in `modules` are bfloat16, if that is the precision.

    `autocast` rounds the same weights to the same bits, but anew in every call where they do not learn.
    """
    layers = [model.get_submodule(name) for name in modules] if precision == "bfloat16" else []
    tensors = [
        tensor
        for layer in layers
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
        for tensor in layer.parameters(recurse=False)
    ]
    exact = [tensor.data for tensor in tensors]
    try:
        for tensor in tensors:
            tensor.data = tensor.data.bfloat16()
        yield
    finally:
        for tensor, data in zip(tensors, exact, strict=True):
            tensor.data = data
