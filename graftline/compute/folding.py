"""Batch normalisation folded into the convolution in front of it, while a frozen part runs.

With fixed statistics a normalisation is one factor and one shift per channel, which the convolution's own weights can
take over (Jacob et al. 2018, arXiv 1712.05877, section 3.2). In EfficientNet-lite0 it is a quarter of the time.
"""

from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from graftline.compute.precision import Precision

# By how much of the largest number folding may move any other, in float32.
TOLERANCE = 1e-4
# timm's, which is a normalisation, a dropout and an activation.
_WITH_ACTIVATION = "BatchNormAct2d"


@contextmanager
def folded(model: nn.Module, modules: Set[str], precision: Precision, run: Callable[[], Tensor]) -> Iterator[None]:
    """Inside, frozen normalisations of `modules` are folded into convolutions, if `precision` rounds more than that.

    `run` gives what the frozen part computes of a few rows, in float32: where folding changes that by more than
    rounding, the model uses a convolution's output elsewhere, too, and nothing is folded.
    """
    has_any = any(isinstance(model.get_submodule(name), nn.BatchNorm2d) for name in modules)
    if precision == "float32" or not has_any:
        yield
        return
    exact, pairs = _watched(model, modules, run)
    kept = [(layer, dict(layer._parameters)) for layer, _ in pairs]
    try:
        _fold(pairs)
        if float((run() - exact).abs().max()) > TOLERANCE * float(exact.abs().max()):
            _restore(kept, pairs)
        yield
    finally:
        _restore(kept, pairs)


Pair = tuple[nn.Conv2d, nn.BatchNorm2d]


def _watched(model: nn.Module, modules: Set[str], run: Callable[[], Tensor]) -> tuple[Tensor, list[Pair]]:
    """The answer of `run`, and each convolution with the normalisation that reads its very output."""
    made: list[tuple[nn.Conv2d, Tensor]] = []
    pairs: list[Pair] = []

    def note(layer: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        made.append((layer, output))

    def match(norm: nn.Module, entering: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        pairs.extend((layer, norm) for layer, output in made if output is entering[0])

    hooks = []
    for name in sorted(modules):
        module = model.get_submodule(name)
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(note))
        elif type(module) is nn.BatchNorm2d or type(module).__name__ == _WITH_ACTIVATION:
            hooks.append(module.register_forward_pre_hook(match))
    try:
        return run(), pairs
    finally:
        for hook in hooks:
            hook.remove()


def _fold(pairs: list[Pair]) -> None:
    for layer, norm in pairs:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        layer.weight, layer.bias = fuse_conv_bn_weights(
            layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        norm.__dict__["forward"] = _what_is_left(norm)  # covers the class's own


def _what_is_left(norm: Any) -> Callable[[Tensor], Tensor]:
    if type(norm) is nn.BatchNorm2d:
        return lambda entering: entering
    return lambda entering: norm.act(norm.drop(entering))


def _restore(kept: list[tuple[nn.Conv2d, dict[str, nn.Parameter | None]]], pairs: list[Pair]) -> None:
    for layer, parameters in kept:
        layer._parameters.update(parameters)
    for _, norm in pairs:
        norm.__dict__.pop("forward", None)
