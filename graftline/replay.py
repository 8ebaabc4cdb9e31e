"""Running the frozen part once: capture what enters the first trainable module, and put it back in every epoch."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from graftline.errors import SettingsError
from graftline.freezing import FreezePoint

Kwargs = dict[str, Any]


class _CapturedError(Exception):
    """Ends a forward pass as soon as it reaches the first trainable module."""


def capture(model: nn.Module, point: FreezePoint, batch: Mapping[str, Tensor]) -> Tensor:
    """What enters the first trainable module, computed in eval mode without gradients: (batch, ...)."""
    held: list[Tensor] = []

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: Kwargs) -> None:
        held.append(args[0] if args else kwargs[_input_name(module)])
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

    def put(module: nn.Module, args: tuple[Any, ...], kwargs: Kwargs) -> tuple[tuple[Any, ...], Kwargs]:
        return ((stored[0], *args[1:]), kwargs) if args else (args, kwargs | {_input_name(module): stored[0]})

    def give(tensor: Tensor) -> None:
        stored[:] = [tensor]

    hook = model.get_submodule(_first(point)).register_forward_pre_hook(put, with_kwargs=True)
    blocks = [model.get_submodule(name) for name in point.frozen_blocks]
    try:
        for block in blocks:
            block.forward = _passing_through(block)
        yield give
    finally:
        hook.remove()
        for block in blocks:
            del block.forward  # uncovers the class's own


def require_equal_replay(model: nn.Module, point: FreezePoint, batch: Mapping[str, Tensor]) -> None:
    """Prove on one batch that this model can be replayed.

    Raises: SettingsError if its blocks hand on more than one tensor, which a replay would lose.
    """
    entering = capture(model, point, batch)
    with torch.no_grad():
        plain = model(**batch)
        with replaying(model, point) as give:
            give(entering)
            replayed = model(**batch)
    if not torch.equal(plain, replayed):
        raise SettingsError(
            f"adaptation.freeze_until: {_first(point)} of this model needs more from the blocks in front of it than one"
            " tensor, so their output cannot be kept; use adaptation.strategy feature_extraction or fine_tuning"
        )


def _passing_through(block: nn.Module) -> Callable[..., Any]:
    """A forward that hands its input on, in a tuple where the block's own forward returns one."""
    own, name = block.forward, _input_name(block)
    extra: list[int | None] = []

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not extra:
            # How the block answers is only seen by asking it once.
            with torch.no_grad():
                answer = own(*args, **kwargs)
            extra.append(len(answer) - 1 if isinstance(answer, tuple) else None)
        hidden = args[0] if args else kwargs[name]
        return hidden if extra[0] is None else (hidden, *[None] * extra[0])

    return forward


def _input_name(module: nn.Module) -> str:
    return next(iter(inspect.signature(module.forward).parameters))


def _first(point: FreezePoint) -> str:
    if point.first_trainable is None:
        raise ValueError("nothing is frozen, so there is nothing to replay")
    return point.first_trainable
