"""The encoder of a file of CTranslate2 gets every weight that transformers asks for, each from where it lies."""

import struct

import pytest
import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from benchmarks.problems.whisper_base import FLOAT16, LAYERS, _named, _variables

INT8 = 1
KEYS, VALUES = [3.0, 4.0], [5.0, 6.0]


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def variable(name: str, shape: list[int], kind: int, content: bytes) -> bytes:
    head = struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, kind, len(content))
    return text(name) + head + content


def test_a_file_of_two_tensors_gives_the_one_of_floats() -> None:
    numbers = struct.pack("<6e", *range(6))
    variables = [variable("encoder/scale", [2], INT8, b"\1\2"), variable("encoder/weight", [2, 3], FLOAT16, numbers)]
    content = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(variables)) + b"".join(variables)
    ((name, tensor),) = _variables(content)
    assert name == "encoder/weight"
    assert tensor.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.fixture(scope="module")
def named() -> dict[str, torch.Tensor]:
    theirs = [f"encoder/conv{place}/{part}" for place in (1, 2) for part in ("weight", "bias")]
    norms = ["encoder/layer_norm"]
    for layer in (f"encoder/layer_{number}" for number in range(LAYERS)):
        norms += [f"{layer}/self_attention/layer_norm", f"{layer}/ffn/layer_norm"]
        linear = [f"{layer}/{place}/linear_{number}" for place in ("self_attention", "ffn") for number in (0, 1)]
        theirs += [f"{name}/{part}" for name in linear for part in ("weight", "bias")]
    theirs += [f"{name}/{part}" for name in norms for part in ("gamma", "beta")]
    return dict(_named({name: torch.tensor([1.0, 2.0, *KEYS, *VALUES]) for name in theirs}, LAYERS))


def test_every_weight_of_the_encoder_has_its_name_in_transformers(named: dict[str, torch.Tensor]) -> None:
    with torch.device("meta"):
        encoder = WhisperEncoder(WhisperConfig(d_model=8, encoder_layers=LAYERS, encoder_attention_heads=2))
    assert {*named, "embed_positions.weight"} == set(encoder.state_dict())


def test_queries_keys_and_values_lie_stacked_in_this_order(named: dict[str, torch.Tensor]) -> None:
    attention = {name: named[f"layers.5.self_attn.{name}_proj.weight"].tolist() for name in "qkv"}
    assert attention == {"q": [1.0, 2.0], "k": KEYS, "v": VALUES}
    assert named["layers.5.self_attn.v_proj.bias"].tolist() == VALUES
