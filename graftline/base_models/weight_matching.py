"""Where each tensor of a checkpoint belongs in an architecture: by its name, or else by its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from torch import Tensor

from graftline.errors import BaseModelRefusedError

COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Match:
    """Where the tensors of a checkpoint belong."""

    tensors: dict[str, Tensor]
    """By the names that they get."""
    by_name: int
    by_order: int
    fresh: int
    """Counters of BatchNorm that old checkpoints lack and nothing reads: 0."""
    left_out: tuple[str, ...]
    """Names in the checkpoint of what is no part of the backbone: heads of other tasks, masks."""


def match_tensors(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    where: str,
    model: str,
    spare: tuple[str, ...] = (),
) -> Match:
    """Find the tensor for each of `expected`: all by name, below any one prefix, or else all by place.

    By place means: as many tensors as expected, each with the shape, kind of number and last part of the name of the
    one it becomes, and a name that is known stands where it is expected. Last parts are compared because shapes do not
    tell a norm's weight from its bias; layers of one shape in another order cannot be noticed. Counters of BatchNorm
    may be absent. By name, tensors may be left over whose names begin with one of `spare`.
    Raises: BaseModelRefusedError with the first difference.
    """
    match = _by_name(tensors, expected, spare)
    if match is None:
        difference = _difference(tensors, expected, spare)
        if difference is not None:
            got, wanted = difference
            counts = f"holds {len(tensors)} tensors where {model} has {len(expected)}"
            refuse(where, f"{counts}, and differs from it first at {got}", wanted)
        match = _by_order(tensors, expected)
    return match


def _by_name(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], spare: tuple[str, ...]) -> Match | None:
    needed = [name for name in expected if not _is_counter(name)]
    # Training programs wrap models: then everything is called module.X or model.X.
    prefixes = [name.removesuffix(needed[0]) for name in tensors if f".{name}".endswith(f".{needed[0]}")]
    prefixes = [
        prefix
        for prefix in prefixes
        if all(prefix + name in tensors and _alike(tensors[prefix + name], expected[name]) for name in needed)
    ]
    if len(prefixes) != 1:
        return None
    (prefix,) = prefixes
    taken = {name: tensors[prefix + name] for name in expected if prefix + name in tensors}
    left_out = [name for name in tensors if name.removeprefix(prefix) not in taken]
    inside = [name for name in left_out if name.startswith(prefix) and is_weight(tensors[name])]
    if not all(name.removeprefix(prefix).startswith(spare) for name in inside):
        return None
    return _match(taken, expected, by_name=len(taken), left_out=left_out)


def _by_order(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Match:
    """Pair tensors in which `_difference` found nothing."""
    pairs = list(zip(*_comparable(tensors, expected), strict=True))
    taken = {place: tensors[name] for name, place in pairs}
    by_name = sum(name == place for name, place in pairs)
    left_out = tensors.keys() - {name for name, _ in pairs}
    return _match(taken, expected, by_name=by_name, left_out=sorted(left_out))


def _match(
    taken: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, by_name: int, left_out: Sequence[str]
) -> Match:
    # Copies: tensors of a checkpoint may share memory, which safetensors refuses.
    whole = {name: taken.get(name, tensor).clone().contiguous() for name, tensor in expected.items()}
    return Match(whole, by_name, len(taken) - by_name, len(expected) - len(taken), tuple(left_out))


def _difference(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], spare: tuple[str, ...]
) -> tuple[str, str] | None:
    """The tensor that is there and the one that should be, where a checkpoint first differs from the architecture."""
    names, places = _comparable(tensors, expected)
    if 2 * len(tensors.keys() & expected.keys()) > len(expected) and names != places:
        # The names are those of the architecture: then they say what is wrong, not the order.
        for place in places:
            if place not in tensors:
                return f"{place}, which is missing", _shown(place, expected[place])
            if not _alike(tensors[place], expected[place]):
                return _shown(place, tensors[place]), _shown(place, expected[place])
        for name in names:
            if name not in expected and is_weight(tensors[name]) and not name.startswith(spare):
                return _shown(name, tensors[name]), "nothing of that name"
    for number, (name, place) in enumerate(zip(names, places, strict=False), 1):
        same_part = name.rpartition(".")[2] == place.rpartition(".")[2]
        moved = name in expected and name != place
        if moved or not same_part or not _alike(tensors[name], expected[place]):
            return f"number {number}, {_shown(name, tensors[name])}", _shown(place, expected[place])
    if len(names) > len(places):
        return f"number {len(places) + 1}, {_shown(names[len(places)], tensors[names[len(places)]])}", "no more tensors"
    if len(names) < len(places):
        return f"number {len(names) + 1}, where it ends", _shown(places[len(names)], expected[places[len(names)]])
    return None


def _comparable(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Both lists of names in their order, without counters of BatchNorm unless both have them."""
    if all(any(map(_is_counter, names)) for names in (tensors, expected)):
        return list(tensors), list(expected)
    first, second = ([name for name in names if not _is_counter(name)] for names in (tensors, expected))
    return first, second


def _alike(tensor: Tensor, expected: Tensor) -> bool:
    """Whether one can take the place of the other. Half precision is kept: loading widens it."""
    return tensor.shape == expected.shape and tensor.is_floating_point() == expected.is_floating_point()


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] == COUNTER


def is_weight(tensor: Tensor) -> bool:
    """Whether it was learned. Others are masks, indices and counters: old checkpoints held them, new ones do not."""
    return tensor.is_floating_point() and tensor.ndim > 0


def _shown(name: str, tensor: Tensor) -> str:
    return f"{name} {tuple(tensor.shape)}"


def refuse(where: str, got: str, expected: str) -> NoReturn:
    raise BaseModelRefusedError(
        f"{where}: {got}; expected {expected}; name the architecture that these weights are of (--architecture, or its"
        " config.json beside them)"
    )
