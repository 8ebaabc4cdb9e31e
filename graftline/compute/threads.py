"""How many processor threads compute, and in which order they add."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def thread_count(threads: int) -> int:
    """How many processor threads to compute with (0: one per core); the last bits of all results depend on it."""
    return threads or os.cpu_count() or 1


def use_threads(threads: int) -> None:
    """Fix what would let two equal runs differ: the number of threads, and kernels without a fixed order."""
    import torch

    torch.set_num_threads(thread_count(threads))
    torch.use_deterministic_algorithms(True)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread meanwhile, so that seconds of the processor can be compared."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
