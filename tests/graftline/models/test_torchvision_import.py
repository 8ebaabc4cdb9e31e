"""torchvision, and with it timm, is importable beside the CPU build of torch."""

import subprocess
import sys

import pytest

from tests.support.tiers import seldom

NEEDS_THE_DECLARATION = """
import timm, torch, torchvision
from torchvision.transforms import v2
from transformers import AutoImageProcessor, AutoModel
assert v2.functional.resize(torch.zeros(3, 8, 8), [4, 4]).shape == (3, 4, 4)
assert hasattr(torch.ops.torchvision, "nms")
"""


@pytest.mark.full
@pytest.mark.parametrize(
    "first",
    seldom(
        ["graftline.models.parts", "graftline.base_models.conversion", "benchmarks.sides"], "graftline.models.parts"
    ),
)
def test_timm_and_transformers_import_in_a_fresh_process(first: str) -> None:
    program = f"import {first}\n{NEEDS_THE_DECLARATION}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
