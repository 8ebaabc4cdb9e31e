"""What runs a frozen part: PyTorch, or a runtime that only computes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from graftline.freezing import FreezePoint
from graftline.openvino_runtime import Forward, compiled
from graftline.precision import Precision, autocast, narrowed
from graftline.replay import Batch, capture
from graftline.settings import Runtime


@contextmanager
def frozen_part(
    model: nn.Module, point: FreezePoint, *, examples: Callable[[], Sequence[Batch]], precision: Precision,
    runtime: Runtime,
) -> Iterator[Forward]:  # fmt: skip
    """Yields: a function from a batch to what enters the first trainable module, as `capture` says.

    `examples` are batches of several shapes, on which another runtime than PyTorch is compared with it first.
    Raises: SettingsError if that runtime cannot run this model, or answers differently.
    """
    if runtime == "openvino":
        yield compiled(
            lambda batch: capture(model, point, batch), model, examples(),
            what="adaptation.runtime openvino", precision=precision,
        )  # fmt: skip
        return
    with autocast(precision), narrowed(model, point.frozen_modules, precision):
        yield lambda batch: capture(model, point, batch)
