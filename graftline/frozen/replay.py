"""Running the frozen part once: capture what enters the first trainable module, and put it back in every epoch."""

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only

from graftline.compute.device import FORWARD_ERRORS, Batch
from graftline.errors import SettingsError
from graftline.frozen.freezing import FreezePoint, train_mode

Kwargs = dict[str, Any]
Forward = Callable[..., Any]


class _CapturedError(Exception):
    """Ends a forward pass as soon as it reaches the first trainable module."""


@dataclass(frozen=True)
class ReplayPlan:
    """Which frozen modules need not run in a replay, and how they answer instead."""

    handing_on: tuple[str, ...] = ()
    """They answer with their input, which has the shape of their output."""
    answering_zeros: tuple[str, ...] = ()
    """They answer with zeros of their output's shape."""


def capture(model: nn.Module, point: FreezePoint, batch: Batch) -> Tensor:
    """The tensor that enters the first trainable module, computed in eval mode without gradients: (batch, ...)."""
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


def plan_replay(model: nn.Module, point: FreezePoint, batch: Batch, blank: Batch | None = None) -> ReplayPlan:
    """The plan that leaves out most, proven on one batch of rows; `blank` has its shapes, but nothing of their content.

    Without `blank` only blocks are left out: whatever else runs in front of them is cheap, for texts.
    Raises: SettingsError if the part behind the cut needs more of what runs in front of it than one tensor.
    """
    only_blocks = ReplayPlan(handing_on=point.frozen_blocks)
    plans = [only_blocks] if blank is None else [_largest_plan(model, point, batch, blank), only_blocks]
    for plan in plans:
        if _is_equal_replay(model, point, plan, batch, blank or batch):
            return plan
    raise cannot_be_kept(point)


def cannot_be_kept(point: FreezePoint) -> SettingsError:
    """The error for a part that cannot go on from what was kept."""
    return SettingsError(
        f"adaptation.freeze_until: {_first(point)} of this model needs more from what runs in front of it than one"
        " tensor per row, or that draws random numbers, so its output cannot be kept; use adaptation.strategy"
        " feature_extraction or fine_tuning"
    )


@contextmanager
def replaying(
    model: nn.Module, point: FreezePoint, plan: ReplayPlan | None = None
) -> Iterator[Callable[[Tensor], None]]:
    """Inside, frozen modules are left out, and the tensor given to the yielded function goes in at the cut.

    Give it each batch's captured tensor right before the forward pass. Without `plan` the frozen blocks are left out.
    """
    plan = ReplayPlan(handing_on=point.frozen_blocks) if plan is None else plan
    stored: list[Tensor] = []

    def put(module: nn.Module, args: tuple[Any, ...], kwargs: Kwargs) -> tuple[tuple[Any, ...], Kwargs]:
        return ((stored[0], *args[1:]), kwargs) if args else (args, kwargs | {_input_name(module): stored[0]})

    def give(tensor: Tensor) -> None:
        stored[:] = [tensor]

    hook = model.get_submodule(_first(point)).register_forward_pre_hook(put, with_kwargs=True)
    left_out = [model.get_submodule(name) for name in (*plan.handing_on, *plan.answering_zeros)]
    try:
        for name in plan.handing_on:
            module = model.get_submodule(name)
            module.forward = _handing_on(module)
        for name in plan.answering_zeros:
            module = model.get_submodule(name)
            module.forward = _answering_zeros(module)
        yield give
    finally:
        hook.remove()
        for module in left_out:
            module.__dict__.pop("forward", None)  # uncovers the class's own


@dataclass
class _Seen:
    """How one module was entered and answered in one forward pass."""

    calls: int = 0
    entering: Tensor | None = None
    arguments: list[Any] = field(default_factory=list)
    answer: Any = None


def _largest_plan(model: nn.Module, point: FreezePoint, batch: Batch, blank: Batch) -> ReplayPlan:
    """Leave out the outermost frozen modules whose answer depends on the rows and is one tensor, or that and no news.

    What answers alike to both batches holds something that the part behind the cut may need, such as a position bias.
    """
    seen, seen_blank = _watch(model, point, batch), _watch(model, point, blank)
    handing_on, answering_zeros = [], []
    decided: set[str] = set()
    for name, _ in model.named_modules():
        if name not in seen or any(name.startswith(f"{outer}.") for outer in decided):
            continue
        here = seen[name]
        if here.calls != 1 or here.entering is None or _is_equal(here.answer, seen_blank[name].answer):
            continue
        answer, *more = here.answer if isinstance(here.answer, tuple) else (here.answer,)
        is_news = [extra is not None and not any(extra is given for given in here.arguments) for extra in more]
        if not isinstance(answer, Tensor) or any(is_news):
            continue
        if answer.shape == here.entering.shape and answer.dtype == here.entering.dtype:
            handing_on.append(name)
        elif not more:
            answering_zeros.append(name)
        else:
            continue
        decided.add(name)
    return ReplayPlan(tuple(handing_on), tuple(answering_zeros))


def _watch(model: nn.Module, point: FreezePoint, batch: Batch) -> dict[str, _Seen]:
    """All that every frozen module was given and answered."""
    seen: dict[str, _Seen] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Kwargs, answer: Any) -> None:
            here = seen.setdefault(name, _Seen())
            here.calls += 1
            entering = args[0] if args else kwargs.get(_input_name(module))
            here.entering = entering if isinstance(entering, Tensor) else None
            here.arguments, here.answer = [*args, *kwargs.values()], answer

        return hook

    hooks = [
        model.get_submodule(name).register_forward_hook(note(name), with_kwargs=True)
        for name in sorted(point.frozen_modules)
    ]
    try:
        with torch.no_grad():
            model.eval()(**batch)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _is_equal(one: Any, other: Any) -> bool:
    pairs = zip(tree_flatten(one)[0], tree_flatten(other)[0], strict=True)
    return all(torch.equal(a, b) for a, b in pairs if isinstance(a, Tensor))


def _is_equal_replay(model: nn.Module, point: FreezePoint, plan: ReplayPlan, batch: Batch, blank: Batch) -> bool:
    """Whether replayed logits are the plain ones to the bit, in eval mode and, with equal dropout, in training."""
    entering = capture(model, point, batch)
    buffers = {name: tensor.clone() for name, tensor in model.named_buffers()}

    def logits(given: Batch, *, training: bool) -> Tensor:
        if training:
            train_mode(model, point)
        else:
            model.eval()
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            output: Tensor = model(**given)
        for name, tensor in model.named_buffers():
            tensor.copy_(buffers[name])  # BatchNorm statistics move in training
        return output

    modes = [False, True] if len(entering) > 1 else [False]  # of one row no BatchNorm statistics can be made
    plain = [logits(batch, training=mode) for mode in modes]
    with replaying(model, point, plan) as give:
        give(entering)
        try:
            replayed = [logits(blank, training=mode) for mode in modes]
        except FORWARD_ERRORS:
            return False  # what stands in for a module's answer does not fit
        finally:
            model.eval()
    return all(torch.equal(a, b) for a, b in zip(plain, replayed, strict=True))


def _handing_on(module: nn.Module) -> Forward:
    """A forward that hands its input on, in a tuple where the module's own forward returns one."""
    own, name = module.forward, _input_name(module)
    # Of each further element of the tuple, the place of the argument that is handed on in it, or None.
    extra: list[list[int | None] | None] = []

    def forward(*args: Any, **kwargs: Any) -> Any:
        given = [*args, *kwargs.values()]
        if not extra:
            # How the module answers is only seen by asking it once.
            with torch.no_grad():
                answer = own(*args, **kwargs)
            extra.append([_place(item, given) for item in answer[1:]] if isinstance(answer, tuple) else None)
        hidden = args[0] if args else kwargs[name]
        if extra[0] is None:
            return hidden
        return (hidden, *[None if place is None else given[place] for place in extra[0]])

    return forward


def _answering_zeros(module: nn.Module) -> Forward:
    """A forward that answers with zeros of the shape that the module's own forward would answer with.

    The shape comes from a twin without values, on PyTorch's device "meta"; each is asked for once.
    """
    stand_ins = {id(tensor): tensor.detach().to("meta") for tensor in (*module.parameters(), *module.buffers())}
    # The copy's memory says that each tensor was copied already.
    twin = copy.deepcopy(module, stand_ins)
    known: dict[tuple[tuple[int, ...], ...], Tensor] = {}

    def forward(*args: Any, **kwargs: Any) -> Tensor:
        tensors = [item for item in tree_flatten((args, kwargs))[0] if isinstance(item, Tensor)]
        shapes = tuple(tuple(tensor.shape) for tensor in tensors)
        if shapes not in known:
            meta_args, meta_kwargs = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
            with torch.no_grad():
                known[shapes] = twin(*meta_args, **meta_kwargs)
        # Real memory, because the model may write into it; untouched pages cost nothing.
        return torch.zeros(known[shapes].shape, dtype=known[shapes].dtype, device=tensors[0].device)

    return forward


def _place(item: Any, given: list[Any]) -> int | None:
    return next((place for place, argument in enumerate(given) if item is not None and argument is item), None)


def _input_name(module: nn.Module) -> str:
    return next(iter(inspect.signature(module.forward).parameters), "")  # a parametrisation takes none


def _first(point: FreezePoint) -> str:
    if point.first_trainable is None:
        raise ValueError("nothing is frozen, so there is nothing to replay")
    return point.first_trainable
