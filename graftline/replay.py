"""Running the frozen part once: capture what enters the first trainable module, and put it back in every epoch."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from graftline.freezing import FreezePoint


class _CapturedError(Exception):
    """Ends a forward pass as soon as it reaches the first trainable module."""


def capture(model: nn.Module, point: FreezePoint, batch: Mapping[str, Tensor]) -> Tensor:
    """What enters the first trainable module, computed in eval mode without gradients: (batch, ...)."""
    held: list[Tensor] = []

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        held.append(args[0] if args else next(iter(kwargs.values())))
        raise _CapturedError

    hook = model.get_submodule(_first(point)).register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with torch.no_grad():
            model.eval()(**batch)
    except _CapturedError:
        return held[0].detach()
    finally:
        hook.remove()
    raise RuntimeError(f"{_first(point)} was never entered: the model does not use it")


@contextmanager
def replaying(model: nn.Module, point: FreezePoint) -> Iterator[Callable[[Tensor], None]]:
    """Inside, frozen blocks pass their input through, and the tensor given to the yielded function goes in at the cut.

    Give it each batch's captured tensor right before the forward pass.
    """
    stored: list[Tensor] = []

    def put(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (stored[0], *args[1:]), kwargs
        return args, {name: stored[0] if place == 0 else value for place, (name, value) in enumerate(kwargs.items())}

    def give(tensor: Tensor) -> None:
        stored[:] = [tensor]

    hook = model.get_submodule(_first(point)).register_forward_pre_hook(put, with_kwargs=True)
    blocks = [model.get_submodule(name) for name in point.frozen_blocks]
    try:
        for block in blocks:
            block.forward = _pass_through
        yield give
    finally:
        hook.remove()
        for block in blocks:
            del block.forward  # uncovers the class's own


def _pass_through(hidden: Tensor, *_: object, **__: object) -> Tensor:
    return hidden


def _first(point: FreezePoint) -> str:
    if point.first_trainable is None:
        raise ValueError("nothing is frozen, so there is nothing to replay")
    return point.first_trainable
