"""What packages hold in other forms comes out under the names of timm and transformers, each number in its place."""

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import helper, numpy_helper
from transformers import ResNetConfig, ResNetModel

from benchmarks.problems.inception import ARCHITECTURE, named, weights_of
from benchmarks.problems.paraphrase_minilm import named_weights
from benchmarks.problems.text_detector_vgg import MLP_RATIO, WIDTH, _let_through, features_of
from benchmarks.problems.thin_resnet import DEPTHS, STEM, WIDTHS, normalised, places

HELD = "model.0.auto_model.embeddings.LayerNorm.weight"
DENSE = "/model/model.0/auto_model/encoder/layer.0/output/dense"


def graph_of(nodes: list[onnx.NodeProto], held: Mapping[str, object]) -> onnx.GraphProto:
    tensors = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in held.items()]
    return helper.make_graph(nodes, "network", [], [], tensors)


def test_a_matrix_of_onnx_gets_the_name_of_the_layer_that_reads_it_and_is_turned() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "onnx::MatMul_7"], ["y"], name=f"{DENSE}/MatMul"),
        helper.make_node("MatMul", ["y", "z"], ["scores"], name="/model/model.0/auto_model/self/MatMul"),
    ]
    found = dict(named_weights(graph_of(nodes, {HELD: [1, 2], "onnx::MatMul_7": [[1, 2], [3, 4]]})))
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "embeddings.LayerNorm.weight": [1, 2],
        "encoder.layer.0.output.dense.weight": [[1, 3], [2, 4]],
    }


def test_a_convolution_is_found_with_all_that_normalises_it() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"]),
        helper.make_node("Add", ["b", "bias"], ["c"]),
        helper.make_node("Cast", ["c"], ["d"], to=1),
        helper.make_node("Sub", ["d", "mean"], ["e"]),
        helper.make_node("Mul", ["e", "factor"], ["f"]),
        helper.make_node("Add", ["f", "same"], ["g"]),
        helper.make_node("Identity", ["addend"], ["same"]),
    ]
    held = {"kernel": [[[[1]]]], "bias": [[[[2]]]], "mean": [[[[3]]]], "factor": [[[[4]]]], "addend": [[[[5]]]]}
    (one,) = normalised(graph_of(nodes, held))
    assert one.kernel.shape == (1, 1, 1, 1)
    assert [tensor.tolist() for tensor in one[1:]] == [[2], [3], [4], [5]]


def test_every_convolution_of_the_thin_resnet_has_its_place_in_transformers() -> None:
    with torch.device("meta"):
        network = ResNetModel(ResNetConfig(embedding_size=STEM, hidden_sizes=list(WIDTHS), depths=list(DEPTHS)))
    theirs = [name.removesuffix(".convolution.weight") for name in network.state_dict() if "convolution" in name]
    assert sorted(places()) == sorted(theirs)


def test_whole_numbers_become_weights_one_tensor_behind_the_other() -> None:
    manifest = (
        'weights:[{name:"a/beta",shape:[2],dtype:"float32",quantization:{min:-1,scale:.5,dtype:"uint8"}},'
        '{name:"a/kernel",shape:[1,2],dtype:"float32",quantization:{min:0,scale:1,dtype:"uint8"}}]'
    )
    found = {name: tensor.tolist() for name, tensor in weights_of(manifest, bytes([0, 4, 7, 8]))}
    assert found == {"a/beta": [-1, 1], "a/kernel": [[7, 8]]}
    with pytest.raises(ValueError, match="hold 5 bytes, expected 4"):
        dict(weights_of(manifest, bytes(5)))


def test_every_weight_of_inception_has_its_name_in_timm() -> None:
    held = {f"conv2d_{number}/kernel": torch.zeros(3, 2, 1, 1) for number in range(1, 95)}
    for number in range(1, 95):
        norm = f"batch_normalization_{number}"
        held |= {f"{norm}/{part}": torch.zeros(1) for part in ("beta", "moving_mean", "moving_variance")}
    found = dict(named(held))
    with torch.device("meta"):
        expected = set(timm.create_model(ARCHITECTURE, num_classes=0).state_dict())
    assert set(found) == {name for name in expected if not name.endswith("num_batches_tracked")}
    assert found["Conv2d_1a_3x3.conv.weight"].shape == (1, 1, 3, 2)


def test_of_the_detector_only_what_is_vggs_is_taken() -> None:
    name = "module.basenet.slice{}.weight"
    held = {name.format(part): torch.tensor(0) for part in ("1.0", "4.38", "5.1")}
    held["module.upconv1.0.weight"] = torch.tensor(0)
    assert set(features_of(held)) == {"features.0.weight", "features.38.weight"}


@torch.no_grad()
def test_what_lies_behind_the_detector_gives_the_mean_of_what_it_says() -> None:
    torch.manual_seed(0)
    network = timm.create_model("vgg16_bn", num_classes=0, mlp_ratio=MLP_RATIO).eval()
    _let_through(network, {"features.40", "features.41", "pre_logits.fc1", "pre_logits.fc2"})
    maps = torch.rand(2, WIDTH, 7, 7)
    vectors = network.forward_head(network.features[40:43](maps))
    assert torch.allclose(vectors[:, :WIDTH], maps.mean((2, 3)), atol=1e-6)
    assert not vectors[:, WIDTH:].any()


def test_another_file_than_the_detectors_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lacks \['features.0'\], expected"):
        _let_through(None, {"features.0"})
