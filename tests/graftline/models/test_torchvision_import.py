"""torchvision, and with it timm, is importable beside the CPU build of torch."""

import subprocess
import sys

NEEDS_THE_DECLARATION = """
import graftline.models.torchvision_import
import timm, torch, torchvision
from torchvision.transforms import v2
from transformers import AutoImageProcessor, AutoModel
assert v2.functional.resize(torch.zeros(3, 8, 8), [4, 4]).shape == (3, 4, 4)
assert hasattr(torch.ops.torchvision, "nms")
"""


def test_timm_and_transformers_import_in_a_fresh_process() -> None:
    done = subprocess.run([sys.executable, "-c", NEEDS_THE_DECLARATION], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
