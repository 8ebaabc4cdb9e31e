"""What an adapted model costs by each runtime, text by text and in turns, and how often each says the same as PyTorch.

    python -m benchmarks.speed.runtimes FOLDER TABLE --column text

FOLDER is the `model` of a folder below artifacts/fine_tune/. Seconds are those of the processor, on one thread: they
mean the same on a machine that does something else as well. ONNX Runtime gets the graph that `graftline export` writes.
"""

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from graftline.answers.predicting import predictor_of
from graftline.compute.onnx_graph import GRAPH, Weights, write_graph
from graftline.data.tables import read_rows
from graftline.models.folders import load_classifier, load_preprocessor
from graftline.models.predictor import Predictor

Answer = Callable[[str], "np.ndarray[Any, Any]"]
# The first ones set things up.
WARM = 5


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("table", type=Path)
    options.add_argument("--column", default="text")
    options.add_argument("--texts", type=int, default=200)
    asked = options.parse_args()
    torch.set_num_threads(1)
    read = [row.values[0] for row in read_rows(asked.table, [asked.column])]
    texts = [text for text in read if text is not None][-asked.texts :]
    with TemporaryDirectory() as scratch:
        sides = _sides(asked.folder, texts, Path(scratch))
        taken, said = _in_turns(sides, texts)
    print("| runtime | milliseconds, median | times as fast as PyTorch | same answer | largest difference |")
    print("|---|---|---|---|---|")
    for name in sides:
        ratio = median(a / b for a, b in zip(taken["PyTorch"], taken[name], strict=True))
        same = float((said[name].argmax(1) == said["PyTorch"].argmax(1)).mean())
        far = float(np.abs(said[name] - said["PyTorch"]).max())
        print(f"| {name} | {1000 * median(taken[name]):.1f} | {ratio:.2f} | {same:.4f} | {far:.2g} |")


def _sides(folder: Path, texts: Sequence[str], scratch: Path) -> dict[str, Answer]:
    preprocessor = load_preprocessor(folder)
    runtimes: dict[str, Predictor] = {}
    runtimes["PyTorch"] = predictor_of(folder)
    runtimes["OpenVINO"] = predictor_of(folder, runtime="openvino")
    written: dict[str, Weights] = {"ONNX Runtime": "float32", "ONNX Runtime, int8": "int8"}
    for name, weights in written.items():
        exported = Path(shutil.copytree(folder, scratch / weights))
        example = preprocessor.collate(preprocessor.encode(texts[:1]))
        write_graph(load_classifier(folder), example, exported / GRAPH, weights=weights)
        runtimes[name] = predictor_of(exported, runtime="onnx")
    return {name: partial(_outputs, one) for name, one in runtimes.items()}


def _outputs(predictor: Predictor, text: str) -> "np.ndarray[Any, Any]":
    first: np.ndarray[Any, Any] = predictor.features([text]).outputs.numpy()[0]
    return first


def _in_turns(
    sides: dict[str, Answer], texts: Sequence[str]
) -> "tuple[dict[str, list[float]], dict[str, np.ndarray[Any, Any]]]":
    taken: dict[str, list[float]] = {name: [] for name in sides}
    said: dict[str, list[Any]] = {name: [] for name in sides}
    for text in texts:
        for name, answer in sides.items():
            began = time.process_time()
            said[name].append(answer(text))
            taken[name].append(time.process_time() - began)
    return {name: one[WARM:] for name, one in taken.items()}, {name: np.stack(one) for name, one in said.items()}


if __name__ == "__main__":
    main()
