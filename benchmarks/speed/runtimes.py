"""What an adapted model costs by each runtime, text by text and in turns, and how often each says the same as PyTorch.

    python -m benchmarks.speed.runtimes FOLDER TABLE --column text

FOLDER is the `model` of a folder below artifacts/fine_tune/. Seconds are those of the processor, on one thread: they
mean the same on a machine that does something else as well. ONNX Runtime gets the same graph as OpenVINO, exported by
torch.onnx with any number and length of inputs; int8 are its weights, quantised dynamically.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graftline.answers.predicting import predictor_of
from graftline.data.tables import read_rows
from graftline.models.folders import load_classifier, load_preprocessor

Answer = Callable[[str], "np.ndarray[Any, Any]"]
# The first ones set things up.
WARM = 5
OPSET = 18


class _Positional(nn.Module):
    """The whole model, with its inputs by position as the exporter wants them."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: Tensor) -> Tensor:
        outputs: Tensor = self.model(**dict(zip(self.names, tensors, strict=True)))
        return outputs


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
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    preprocessor, whole, small = load_preprocessor(folder), scratch / "whole.onnx", scratch / "int8.onnx"
    _export(folder, texts[:2], whole)
    quantize_dynamic(whole, small, weight_type=QuantType.QInt8)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1

    def by_onnx(path: Path) -> Answer:
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])

        def answer(text: str) -> "np.ndarray[Any, Any]":
            batch = preprocessor.collate(preprocessor.encode([text]))
            (outputs,) = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})
            first: np.ndarray[Any, Any] = np.asarray(outputs)[0]
            return first

        return answer

    plain, openvino = predictor_of(folder), predictor_of(folder, runtime="openvino")
    return {
        "PyTorch": lambda text: plain.features([text]).outputs.numpy()[0],
        "OpenVINO": lambda text: openvino.features([text]).outputs.numpy()[0],
        "ONNX Runtime": by_onnx(whole),
        "ONNX Runtime, int8": by_onnx(small),
    }


def _export(folder: Path, texts: Sequence[str], path: Path) -> None:
    model, preprocessor = load_classifier(folder).eval(), load_preprocessor(folder)
    batch = preprocessor.collate(preprocessor.encode(texts))
    any_shape = tuple(dict.fromkeys(range(tensor.ndim), torch.export.Dim.DYNAMIC) for tensor in batch.values())
    program = torch.onnx.export(
        _Positional(model, list(batch)),
        tuple(batch.values()),
        dynamo=True,
        input_names=list(batch),
        output_names=["outputs"],
        dynamic_shapes=(any_shape,),
        opset_version=OPSET,
    )
    assert program is not None  # dynamo gives one
    program.save(path)


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
