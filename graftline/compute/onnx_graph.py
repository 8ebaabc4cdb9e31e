"""A whole model as one graph of ONNX, for servers that answer faster with it and for runtimes without PyTorch."""

import copy
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import Tensor, nn

from graftline.compute.device import Batch
from graftline.compute.openvino_runtime import Network
from graftline.errors import SettingsError
from graftline.wording import ERROR_CHARACTERS, shortened

Weights = Literal["float32", "int8"]
# Beside the weights of the model that it is a graph of.
GRAPH = "model.onnx"
# Its outputs: what the head reads of each input, and what the head makes of it.
VECTORS, OUTPUTS = "vectors", "outputs"
OPSET = 18
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def require_onnx(what: str) -> None:
    """Raises: SettingsError where a library is missing that writes or runs a graph; `what` names who asks for it."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise SettingsError(f'{what}: {", ".join(missing)} not installed; run pip install "graftline[onnx]"')


def write_graph(model: nn.Module, example: Batch, path: Path, *, weights: Weights) -> None:
    """Write a model, whose `features` are the vectors that its `head` reads, as a graph for any number of inputs.

    `int8` are the weights of its products, quantised tensor by tensor while their inputs are at each run (dynamic
    quantisation of ONNX Runtime); whether that answers well enough is for the caller to find out.
    Raises: SettingsError if the model cannot be written as a graph.
    """
    require_onnx(f"a graph of {type(model).__name__}")
    names = list(example)
    any_shape = tuple(dict.fromkeys(range(tensor.ndim), torch.export.Dim.AUTO) for tensor in example.values())
    # Twice the same row: of one row the exporter would make a graph for one row only.
    two = tuple(torch.cat([tensor, tensor]) for tensor in example.values())
    try:
        with TemporaryDirectory(dir=path.parent) as scratch, _quiet(), torch.no_grad():
            program = torch.onnx.export(
                _Positional(copy.deepcopy(model), names).eval(), two, dynamo=True, input_names=names,
                output_names=[VECTORS, OUTPUTS], dynamic_shapes=(any_shape,), opset_version=OPSET,
            )  # fmt: skip
            assert program is not None  # dynamo gives one
            whole = Path(scratch) / GRAPH
            program.save(whole)
            if list(Path(scratch).iterdir()) != [whole]:  # the form itself holds no more
                raise ValueError("its weights are more than the 2 GB that one file of ONNX holds")
            if weights == "int8":
                _quantise(whole, path)
            else:
                whole.replace(path)
    except Exception as error:  # whatever it stumbles over means one thing: not this model
        said = shortened(str(error).strip().splitlines()[-1] if str(error).strip() else "", ERROR_CHARACTERS)
        raise SettingsError(
            f"{type(model).__name__} cannot be written as a graph of ONNX ({type(error).__name__}: {said}); serve the"
            " version as it is"
        ) from error


def read_graph(path: Path, *, threads: int) -> Network:
    """The graph in a file as something that gives the vectors (1, width) of each of several inputs, in their order.

    Raises: SettingsError if ONNX Runtime is not installed; ValueError where there is no such graph.
    """
    require_onnx(f"runtime onnx for {path}")
    import onnxruntime

    if not path.is_file():
        raise ValueError(f"runtime onnx: {path} is not there; `graftline export` makes a version that has one")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    read = [one.name for one in session.get_inputs()]

    def network(batches: Iterable[Batch]) -> list[Tensor]:
        return [
            torch.from_numpy(session.run([VECTORS], {name: batch[name].numpy() for name in read})[0])
            for batch in batches
        ]

    return network


def _quantise(whole: Path, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(whole, path, weight_type=QuantType.QInt8)


class _Positional(nn.Module):
    """The whole model, with its inputs by position as the exporter wants them."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        vectors: Tensor = self.model.features(**dict(zip(self.names, tensors, strict=True)))  # type: ignore[operator]
        return vectors, self.model.head(vectors)  # type: ignore[operator]


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporter and quantiser tell of each of their stages."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
