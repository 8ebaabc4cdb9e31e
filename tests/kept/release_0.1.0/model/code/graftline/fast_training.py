"""Attention, dropout and gradients of embeddings as they train fastest on processors.

PyTorch draws dropout's masks there one number at a time, on one thread, and computes attention in float32 and with a
check for rows without any key, also where everything else is bfloat16. Together that took more than a third of a
training step of a small BERT.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from graftline.device import CPU
from graftline.embedding_gradients import recyclable_gradients

# A 64-bit draw decides four elements.
_BITS = 16
_torch_dropout, _torch_attention = functional.dropout, functional.scaled_dot_product_attention


@contextmanager
def fast_training(device: torch.device = CPU) -> Iterator[None]:
    """Inside, `torch.nn.functional` has functions of ours in place of its own, in every thread, if it is a processor.

    A mode of `torch.overrides` would be off while a backward pass computes activations again, which then met other
    masks.
    """
    if device.type != "cpu":
        yield
        return
    # What they leave to PyTorch goes its plain mathematical path, whose backward pass is cheaper than the fused one's.
    with sdpa_kernel(SDPBackend.MATH), recyclable_gradients():
        functional.dropout = dropout
        functional.scaled_dot_product_attention = attention  # type: ignore[assignment]
        try:
            yield
        finally:
            functional.dropout = _torch_dropout
            functional.scaled_dot_product_attention = _torch_attention


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`torch.nn.functional.dropout`, whose mask comes from SFC64, seeded by one number of PyTorch's generator.

    `p` is rounded to a multiple of 2**-16.
    """
    dropped = round(p * 2**_BITS)
    if not training or not 0 < dropped < 2**_BITS or inplace or _is_left_to_torch(input):
        return _torch_dropout(input, p, training, inplace)
    seed = int(torch.randint(2**63 - 1, ()))
    drawn = np.random.SFC64(seed).random_raw(-(-input.numel() * _BITS // 64)).view(np.int16)[: input.numel()]
    kept = torch.from_numpy(drawn).view(input.shape).ge_(dropped - 2 ** (_BITS - 1))
    return input * kept.to(input.dtype).mul_(1 / (1 - p))


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`torch.nn.functional.scaled_dot_product_attention` as plain products, in bfloat16 where autocast says so.

    A query of which every key is masked attends to all of them alike, where PyTorch's answers zeros: it is padding.
    """
    if enable_gqa or _is_left_to_torch(query):
        return _torch_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    if torch.is_autocast_enabled("cpu"):
        lower = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(lower), key.to(lower), value.to(lower)
    with torch.autocast("cpu", enabled=False):  # which would compute the softmax in float32
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = (query * factor) @ key.transpose(-2, -1)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        if attn_mask is not None:
            # Added, not filled in: that passes over all heads in a quarter of the time.
            lowest = torch.finfo(scores.dtype).min
            if attn_mask.dtype == torch.bool:
                attn_mask = torch.zeros(attn_mask.shape, dtype=scores.dtype).masked_fill_(~attn_mask, lowest)
            scores = scores + attn_mask.to(scores.dtype).clamp(min=lowest)
        return dropout(scores.softmax(-1), dropout_p) @ value


def _is_left_to_torch(tensor: Tensor) -> bool:
    """Whether it lies elsewhere, or what is computed is being compiled, which cannot look into NumPy."""
    return tensor.device.type != "cpu" or torch.compiler.is_compiling()
