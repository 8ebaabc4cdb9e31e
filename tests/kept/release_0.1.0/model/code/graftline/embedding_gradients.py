"""Gradients of large embedding tables on processors, in memory that is used again.

A batch reads a few hundred rows of a table of tens of thousands. PyTorch makes a new gradient of the whole table for
it in every step. Fetching and zeroing its pages took 23 ms a step with the table of MiniLM and 70 with that of GPT-2,
where what follows takes 1.5 and 2.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Entries: below it malloc itself gives the same memory again (on Linux up to 32 MB, of float32).
LARGE = 1 << 23
_torch_embedding = functional.embedding


@dataclass
class _Table:
    """One table's gradient between two steps."""

    weight: Tensor
    spare: Tensor | None = None
    """The last step's gradient, all zeros again."""
    touched: list[Tensor] = field(default_factory=list)
    """The rows that are not zero in the present one."""


_tables: dict[int, _Table] = {}


@contextmanager
def recyclable_gradients() -> Iterator[None]:
    """Inside, `torch.nn.functional.embedding` has the function below in its place, in every thread."""
    functional.embedding = embedding
    try:
        yield
    finally:
        functional.embedding = _torch_embedding
        _tables.clear()


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """`torch.nn.functional.embedding`, with the same gradient to the bit."""
    learns = weight.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling()
    is_plain = max_norm is None and not scale_grad_by_freq and not sparse and weight.device.type == "cpu"
    if not (learns and is_plain and weight.is_leaf and weight.numel() > LARGE):
        return _torch_embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    skipped = -1 if padding_idx is None else padding_idx % len(weight)
    found: Tensor = _Embedding.apply(weight, input, skipped)  # type: ignore[no-untyped-call]
    return found


def recycle_gradients(*, everywhere: bool) -> None:
    """Take the gradients off their tables after a step, and keep their memory, as zeros, for the next one.

    `everywhere` says that more than `backward` and factors went into them, so that any row may be something else.
    """
    for table in _tables.values():
        if table.weight.grad is not None:
            table.spare, table.weight.grad = table.weight.grad, None
            if everywhere:
                table.spare.zero_()
            for rows in table.touched:
                table.spare.index_fill_(0, rows, 0.0)
            table.touched.clear()


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, input: Tensor, skipped: int) -> Tensor:
        ctx.save_for_backward(input)
        ctx.weight, ctx.skipped = weight, skipped
        return _torch_embedding(input, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (input,) = ctx.saved_tensors
        table = _tables.setdefault(id(ctx.weight), _Table(ctx.weight))
        rows, places = torch.unique(input, return_inverse=True)
        # The same additions in the same order as in a gradient of the whole table.
        of_rows = torch.ops.aten.embedding_dense_backward(gradient, places, len(rows), -1, False)
        of_rows[rows == ctx.skipped] = 0.0
        # The table's gradient becomes this very tensor if nobody else holds on to it.
        whole, table.spare = table.spare, None
        if whole is None:
            whole = torch.zeros_like(ctx.weight)
        whole.index_copy_(0, rows, of_rows)
        table.touched.append(rows)
        return whole, None, None
