"""The machine: what it is, and how fast it multiplies matrices."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch.nn.functional import linear

from benchmarks.sides.turns import Clock, Outcome
from graftline.compute.precision import Precision

# Rows, inner width, columns of a product.
Shape = tuple[int, int, int]
LIBRARIES = ("torch", "transformers", "sentence-transformers", "scikit-learn", "timm")
# The flags of a processor which say that it multiplies in bfloat16, and does not only convert to it and back.
BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


def describe(threads: int) -> dict[str, str]:
    """Processor, threads and versions."""
    return {
        "processor": _cpuinfo("model name") or platform.machine(),
        "family, model, stepping": " ".join(_cpuinfo(name) for name in ("cpu family", "model", "stepping")),
        "cores": str(os.cpu_count()),
        "threads": str(threads),
        "bfloat16": fast_precision(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def fast_precision() -> Precision:
    """The precision in which this processor multiplies fastest."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return "bfloat16" if any(flag in flags for flag in BFLOAT16_FLAGS) else "float32"


def products(shapes: Sequence[Shape], precision: Precision, at_least_seconds: float, *, device: str = "cpu") -> Outcome:
    """Matrix products of these shapes in turn, as a linear layer computes them; `work` is in GFLOP."""
    dtype = getattr(torch, precision)
    factors = [
        (torch.randn(rows, inner, dtype=dtype, device=device), torch.randn(columns, inner, dtype=dtype, device=device))
        for rows, inner, columns in shapes
    ]
    each_gflop = sum(2 * rows * inner * columns for rows, inner, columns in shapes) / 1e9
    done, began = 0.0, Clock.seconds()
    with torch.inference_mode():
        while (seconds := Clock.seconds() - began) < at_least_seconds or not done:
            for left, right in factors:
                linear(left, right)
            if device != "cpu":
                torch.cuda.synchronize()  # it only took the product down to do it
            done += each_gflop
    return Outcome(seconds, work=done)


def _cpuinfo(name: str) -> str:
    """The first processor's entry; empty if there is none."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
