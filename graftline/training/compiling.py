"""The blocks that learn, each compiled as a whole: what lies between its matrix products becomes a few kernels."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from graftline.errors import SettingsError
from graftline.frozen.freezing import FreezePoint
from graftline.models.blocks import find_blocks
from graftline.wording import ERROR_CHARACTERS, shortened

BACKEND = "inductor"
# Of one model: a block is compiled for training and for validation, and again where it is unlike the block before it.
# PyTorch's own limit is 8, which unlike blocks may exceed, and beyond it a block silently runs uncompiled.
MOST_VARIANTS = 256
OPTIONS = {
    # Kernels are chosen by rule, not by a race whose winner may add in another order next time.
    "deterministic": True,
    # They would lie in a folder below /tmp that no setting moves.
    "cpp_cache_precompile_headers": False,
}
# Where what was compiled is kept and looked up: libraries and pickles, which whoever writes there can make us run.
CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


@contextmanager
def compiled_blocks(model: nn.Module, point: FreezePoint) -> Iterator[None]:
    """Inside, each block behind the freeze point runs compiled, for rows of any number and length.

    Blocks one by one, because equal ones share what is compiled: that takes a fraction of the time of a whole model
    (regional compilation). Names and hooks of modules stay as they are.
    Raises: SettingsError if this machine or model cannot do it.
    """
    names = find_blocks(model)
    if not names:
        raise SettingsError(
            "adaptation.compile: this model has no list of equal blocks to compile; name its blocks with"
            " adaptation.block_pattern, or set adaptation.compile to false"
        )
    blocks = [model.get_submodule(name) for name in names if name not in point.frozen_blocks]
    with _private_caches():
        from torch._dynamo.exc import TorchDynamoException  # takes seconds, and looks for the caches

        for block in blocks:
            options = OPTIONS if BACKEND == "inductor" else None
            block.compile(dynamic=True, backend=BACKEND, recompile_limit=MOST_VARIANTS, options=options)
        try:
            yield
        except TorchDynamoException as error:
            cause = getattr(error, "inner_exception", error)  # what a backend raised, without PyTorch's own heading
            said = shortened(f"{type(cause).__name__}: {cause}".splitlines()[0], ERROR_CHARACTERS)
            raise SettingsError(
                f"adaptation.compile: PyTorch cannot compile this model here ({said}); install a C++ compiler such as"
                " g++ if there is none, or set adaptation.compile to false"
            ) from error
        finally:
            for block in blocks:
                block._compiled_call_impl = None


@contextmanager
def _private_caches() -> Iterator[None]:
    """Inside, nothing compiled is taken from folders that outlive this training, such as PyTorch's below /tmp."""
    before = {name: os.environ.get(name) for name in CACHES}
    with tempfile.TemporaryDirectory(prefix="graftline-compiled-") as folder:
        os.environ |= dict.fromkeys(CACHES, folder)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
