"""OpenVINO in place of PyTorch for what does not learn: on processors its kernels lose less around the products."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Lock
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from graftline.compute.device import Batch
from graftline.compute.precision import Precision
from graftline.errors import RuntimeUnfitError, SettingsError
from graftline.wording import ERROR_CHARACTERS, shortened

Forward = Callable[[Batch], Tensor]
# Answers several inputs, in their order; it takes the next one while it computes.
Network = Callable[[Iterable[Batch]], list[Tensor]]

# How far an answer may lie from PyTorch's in float32, as a share of the largest value: what reordered sums come to, and
# what bfloat16 with its 8 bits does to a network of some depth (the same bound as for bfloat16 in PyTorch).
TOLERANCE: Mapping[Precision, float] = {"float32": 1e-4, "bfloat16": 10 / 256}
# Against a division by zero.
SMALLEST = 1e-12
# Inputs that lie ready for each core, so that none waits for Python.
QUEUED = 2
PRECISION_HINT: Mapping[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}


def compiled(
    plain: Forward,
    module: nn.Module,
    examples: Sequence[Batch],
    *,
    what: str,
    precision: Precision,
) -> Network:
    """`plain`, which runs `module` in eval mode, as a network of OpenVINO for inputs of any shape.

    Each core computes an input of its own, so that rows need no company to fill the processor: each may be given alone,
    without padding, and its answer has the same bits whatever is computed beside it.

    The first example is traced; on all of them, which should differ in shape, the answer is compared with PyTorch's.
    Differences are taken as shares of the largest value.
    Raises: SettingsError if OpenVINO is not installed; RuntimeUnfitError if it cannot convert the model, or answers
    differently. `what` names the setting that asked for it.
    """
    if find_spec("openvino") is None:
        raise SettingsError(
            f'{what}: OpenVINO is not installed; run pip install "graftline[openvino]", or use runtime torch'
        )
    try:
        network = _converted(plain, module, examples[0], precision)
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            expected = [plain(example) for example in examples]
        pairs = zip(network(examples), expected, strict=True)
        far = max(_distance(answer, right) for answer, right in pairs)
    except Exception as error:  # whatever it stumbles over means one thing: not this model
        said = shortened(str(error).strip().splitlines()[-1], ERROR_CHARACTERS)
        raise RuntimeUnfitError(
            f"{what}: OpenVINO cannot run {type(module).__name__} ({type(error).__name__}: {said}); use runtime torch"
        ) from error
    if not far <= TOLERANCE[precision]:
        raise RuntimeUnfitError(
            f"{what}: OpenVINO's answer differs from PyTorch's by {far:.2g} of the largest value, expected at most"
            f" {TOLERANCE[precision]:.2g} in {precision}; use runtime torch"
        )
    return network


def _converted(plain: Forward, module: nn.Module, example: Batch, precision: Precision) -> Network:
    # Without it OpenVINO uses a stub: it would report to its makers what was converted, and how that failed.
    sys.modules["openvino_telemetry"] = cast("ModuleType", None)
    import openvino

    names = list(example)
    positional = _Positional(plain, module, names).eval()
    with warnings.catch_warnings(), torch.no_grad(), torch.autocast("cpu", enabled=False), _without_cache(module):
        # That other shapes may run differently is what the comparison is for.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        # OpenVINO would trace it twice and compare; the answers are compared anyway.
        graph = torch.jit.trace(positional, tuple(example.values()), check_trace=False)  # type: ignore[no-untyped-call]
        with _logging_kept():
            converted = openvino.convert_model(graph, example_input=tuple(example.values()))
    threads = torch.get_num_threads()
    options = {
        "INFERENCE_PRECISION_HINT": PRECISION_HINT[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
    }
    on_processor = openvino.Core().compile_model(converted, "CPU", options)
    return _answering(openvino.AsyncInferQueue(on_processor, QUEUED * threads), names)


def _answering(queue: Any, names: Sequence[str]) -> Network:
    """The network behind a queue of OpenVINO, whose inputs have these names."""
    answers: dict[int, Tensor] = {}

    def keep(request: Any, place: int) -> None:
        # The request writes its next answer into the same memory.
        answers[place] = torch.from_numpy(request.get_output_tensor(0).data.copy())

    queue.set_callback(keep)
    # A server asks from several threads, and answers are told apart by their places only.
    one_caller = Lock()

    def network(batches: Iterable[Batch]) -> list[Tensor]:
        with one_caller:
            answers.clear()
            try:
                for place, batch in enumerate(batches):
                    queue.start_async([batch[name].numpy() for name in names], place)
            finally:
                # What was started ends before anyone else asks, also where a batch could not be read.
                queue.wait_all()
            return [answers.pop(place) for place in sorted(answers)]

    return network


def _distance(answer: Tensor, expected: Tensor) -> float:
    """The largest difference as a share of the largest value; infinite between different shapes."""
    if answer.shape != expected.shape:
        return float("inf")
    return float((answer.float() - expected.float()).abs().max() / expected.abs().max().clamp_min(SMALLEST))


class _Positional(nn.Module):
    """A module whose forward takes tensors by position, as the tracer wants it."""

    def __init__(self, plain: Forward, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module = module  # the tracer looks for weights below the traced module
        self._plain, self._names = plain, names

    def forward(self, *tensors: Tensor) -> Tensor:
        return self._plain(dict(zip(self._names, tensors, strict=True)))


@contextmanager
def _without_cache(module: nn.Module) -> Iterator[None]:
    """Inside, decoders keep no keys and values for a next token that is never asked for."""
    of_parts = {id(config): config for part in module.modules() if (config := getattr(part, "config", None))}
    configs = [config for config in of_parts.values() if getattr(config, "use_cache", False)]
    for config in configs:
        config.use_cache = False
    try:
        yield
    finally:
        for config in configs:
            config.use_cache = True


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Afterwards the root logger is as before: a conversion that fails leaves it at ERROR, and warnings go nowhere."""
    root = logging.getLogger()
    level, filters, handlers = root.level, [*root.filters], [*root.handlers]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:], root.handlers[:] = filters, handlers
