"""What a machine can compute with, as far as its files say it: PyTorch takes a second to be asked."""

import platform
import re
import sys
from pathlib import Path

# Without one of these no driver of NVIDIA (Tegra and WSL included) or AMD offers a GPU.
GPU_FILES = ("nvidia*", "nvhost*", "nvmap", "nvgpu", "kfd", "dxg")
# Instructions for products of bfloat16 matrices, by PyTorch's names and Linux's. Without them oneDNN emulates: 3 to 7
# times slower than float32, where the processor was told to do without.
BFLOAT16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")


def may_have_gpu() -> bool:
    """Whether PyTorch has to be asked; if not, it would find none."""
    return sys.platform != "linux" or any(True for name in GPU_FILES for _ in Path("/dev").glob(name))


def has_bfloat16() -> bool | None:
    """Whether the processor has instructions for products of bfloat16 matrices; None where no file says so."""
    flags = processor_flags()
    return None if flags is None else any(name in flags for name in BFLOAT16_INSTRUCTIONS)


def processor_flags() -> frozenset[str] | None:
    """The processor's abilities by Linux's names; None where they are told otherwise, or not at all."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    line = re.search(r"^flags\s*:(.*)$", told, re.MULTILINE)
    return frozenset(line[1].split()) if line else None
