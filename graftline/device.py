"""Where tensors are: a model takes what it reads to where it is itself, and what is kept of it comes back."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

import torch
from torch import Tensor, nn

from graftline.errors import GraftlineError, SettingsError

CPU = torch.device("cpu")


def device_of(module: nn.Module) -> torch.device:
    """Where the module's parameters are, which is one device."""
    return next((parameter.device for parameter in module.parameters()), CPU)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on that device; a GPU copies it from pinned memory, while the processor goes on."""
    if device.type == "cuda" and tensor.device == CPU:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def batch_on(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """All tensors of the batch on that device."""
    return {name: moved(tensor, device) for name, tensor in batch.items()}


def prepare(device: torch.device) -> None:
    """Make a GPU compute the same numbers each time, and in float32 where the settings say so.

    An operation without such a kernel there computes anyway, and PyTorch warns: then a repetition may differ.
    Raises: SettingsError if there is no such device.
    """
    if device.type != "cuda":
        return
    if not torch.cuda.is_available():
        raise SettingsError(
            f"adaptation.device {device}: PyTorch {version('torch')} finds no GPU that it can use; set it to auto or"
            " cpu, or install a driver and a build of PyTorch for your GPU"
        )
    # cuBLAS reads it once, before its first product; without it, its sums have no fixed order.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)


@contextmanager
def full_memory_told() -> Iterator[None]:
    """Raises: GraftlineError, which says what to do, where a GPU's memory is full."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise GraftlineError(
            f"the GPU's memory is full ({str(error).splitlines()[0][:200]}); lower adaptation.batch_size and raise"
            " adaptation.gradient_accumulation as much, or set adaptation.gradient_checkpointing to true"
        ) from None
