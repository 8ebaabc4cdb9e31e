"""How many processor threads compute, and in which order they add."""

import os


def thread_count(threads: int) -> int:
    """How many processor threads to compute with (0: one per core); the last bits of all results depend on it."""
    return threads or os.cpu_count() or 1


def use_threads(threads: int) -> None:
    """Fix what would let two equal runs differ: the number of threads, and kernels without a fixed order."""
    import torch

    torch.set_num_threads(thread_count(threads))
    torch.use_deterministic_algorithms(True)
