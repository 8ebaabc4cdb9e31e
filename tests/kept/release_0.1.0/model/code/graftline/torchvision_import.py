"""Import this before transformers or timm: PyPI's torchvision cannot be imported beside a CPU build of torch without.

Its compiled operators are linked against CUDA. Where they do not load, torchvision still registers shape functions for
two of them and stops at operators that nobody declared. Declaring their schemas is enough: they are for detection
models, and nothing here calls them.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _declare_missing_operators() -> None:
    spec = find_spec("torchvision")  # finds without importing
    if spec is None or spec.origin is None:
        return
    try:
        for library in sorted(Path(spec.origin).parent.glob("_C*.so")):
            cast("Any", torch.ops).load_library(library)
    except OSError:
        for name in OPERATORS:
            torch.library.define(f"torchvision::{name}", SCHEMA)


_declare_missing_operators()
