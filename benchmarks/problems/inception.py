"""The Inception v3 of the npm package nsfwjs 4.4.0 (MIT), as a folder of timm.

It is Keras's, trained to sort pictures into five kinds, its weights in whole numbers of 8 bits, in scripts as text.
`npm pack nsfwjs@4.4.0`, unpacked, is the folder `package`. Keras numbers convolutions and their normalisations in the
order in which timm has them. At the edges its poolings are not timm's: they leave out what lies outside.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor, nn

from graftline.base_models.conversion import convert
from graftline.files import write_json
from graftline.models.transformers_backbones import CONFIG

FOLDER, SHARDS = "package/dist/models/inception_v3", 6
ARCHITECTURE = "inception_v3"
WEIGHT = re.compile(r'\{name:"([^"]+)",shape:\[([\d,]+)\],dtype:"float32",quantization:\{min:([^,]+),scale:([^,]+),')
TEXT = re.compile(r'exports="([^"]+)"')
# Its pictures are from 0 to 1.
SEEN_AS = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}


def write_inception(packages: Path, folder: Path) -> Path:
    """Its weights without the layers that sort into its five kinds."""
    files = packages / FOLDER
    content = b"".join(
        _shard((files / f"group1-shard{number}of{SHARDS}.min.js").read_text()) for number in range(1, SHARDS + 1)
    )
    held = dict(weights_of((files / "model.min.js").read_text(), content))
    folder.mkdir(parents=True)
    convert(dict(named(held)), folder, where=ARCHITECTURE, architecture=ARCHITECTURE)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config["pretrained_cfg"] |= SEEN_AS
    write_json(folder / CONFIG, config)
    return folder


def _shard(script: str) -> bytes:
    found = TEXT.search(script)
    assert found is not None
    return base64.b64decode(found[1])


def weights_of(manifest: str, content: bytes) -> Iterator[tuple[str, Tensor]]:
    """The tensors of all shards together, each with the name of its layer: its smallest value and so many steps."""
    place = 0
    for name, shape, smallest, step in WEIGHT.findall(manifest):
        sides = [int(side) for side in shape.split(",")]
        count = int(np.prod(sides))
        steps = np.frombuffer(content, np.uint8, count, place).astype(np.float32)
        yield name, torch.from_numpy(steps * np.float32(step) + np.float32(smallest)).reshape(sides)
        place += count
    if place != len(content):
        raise ValueError(f"the shards hold {len(content)} bytes, expected {place}: another version of the package?")


def named(held: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Those of the convolutions under the names of timm: Keras has a kernel's rows and columns first."""
    with torch.device("meta"):
        network = timm.create_model(ARCHITECTURE, num_classes=0)
    places = [name.removesuffix(".conv") for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    for number, place in enumerate(places, 1):
        norm = f"batch_normalization_{number}"
        addend = held[f"{norm}/beta"]
        yield f"{place}.conv.weight", held[f"conv2d_{number}/kernel"].permute(3, 2, 0, 1).contiguous()
        yield f"{place}.bn.weight", torch.ones_like(addend)
        yield f"{place}.bn.bias", addend
        yield f"{place}.bn.running_mean", held[f"{norm}/moving_mean"]
        yield f"{place}.bn.running_var", held[f"{norm}/moving_variance"]
