"""Image and speech models: loaded whole or refused, saved and loaded without a difference, reading what is real."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModel

from graftline.answers.predicting import predictor_of
from graftline.digests import tensors_sha256
from graftline.errors import BaseModelRefusedError, DataRefusedError, SettingsError
from graftline.frozen.freezing import freeze, frozen_sha256, train_mode
from graftline.models.blocks import find_blocks
from graftline.models.folders import load_base, load_classifier, load_preprocessor, save_classifier
from graftline.models.lora import add_lora
from graftline.models.media import Medium
from graftline.models.outputs import Outputs
from graftline.models.preprocessing import Reading
from graftline.settings import parse_settings
from tests.graftline.data.test_images import png_of
from tests.support.tiers import sampled, seldom
from tests.support.tiny_media import (
    AUDIO_ARCHITECTURES,
    IMAGE_ARCHITECTURES,
    MEDIA_ARCHITECTURES,
    AudioArchitecture,
    ImageArchitecture,
    MediaArchitecture,
    kind_of,
    tiny_images,
    tiny_media_classifier,
    tiny_media_rows,
    tiny_sounds,
    write_tiny_audio_model,
    write_tiny_image_model,
    write_tiny_media_model,
)
from tests.support.tiny_models import tiny_classifier, tiny_preprocessor, write_tiny_model

LARGE = ("timm vgg", "timm inception_v3")
MEDIA = [
    *sampled([name for name in MEDIA_ARCHITECTURES if name not in LARGE], "timm resnet", "vit", "hubert", "whisper"),
    *seldom(LARGE),
]


def files(family: MediaArchitecture, rows: int) -> list[bytes]:
    return (tiny_images if kind_of(family) == "image" else tiny_sounds)(rows)[0]


def saved(folder: Path, family: MediaArchitecture) -> Path:
    base = write_tiny_media_model(folder / "base", family)
    preprocessor = load_preprocessor(base, Reading(kind_of(family)))
    save_classifier(tiny_media_classifier(base, family), preprocessor, folder / "saved")
    return folder / "saved"


@pytest.mark.parametrize("family", MEDIA)
def test_a_saved_model_reads_and_answers_as_the_one_that_was_saved(tmp_path: Path, family: MediaArchitecture) -> None:
    folder = saved(tmp_path, family)
    model, rows = tiny_media_classifier(tmp_path / "base", family), tiny_media_rows(tmp_path / "base", family, 4)
    again, preprocessor = load_classifier(folder), load_preprocessor(folder)
    read = preprocessor.collate(preprocessor.encode(files(family, 4)))
    with torch.no_grad():
        assert torch.equal(again(**read), model.eval()(**rows.batch(range(4))))
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("family", MEDIA)
def test_an_unchanged_backbone_is_saved_as_the_files_of_the_base_model(
    tmp_path: Path, family: MediaArchitecture
) -> None:
    base = write_tiny_media_model(tmp_path / "base", family)
    model, preprocessor = tiny_media_classifier(base, family), load_preprocessor(base, Reading(kind_of(family)))
    save_classifier(model, preprocessor, tmp_path / "saved", base=base)
    again = load_classifier(tmp_path / "saved")
    assert tensors_sha256(again.state_dict()) == tensors_sha256(model.state_dict())
    written, published = (folder / "model.safetensors" for folder in (tmp_path / "saved", base))
    if family == "whisper":  # whose decoder nobody needs
        assert written.stat().st_size < published.stat().st_size
    else:
        assert written.read_bytes() == published.read_bytes()


def test_a_backbone_that_differs_in_one_bit_is_saved_as_it_is(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    model, preprocessor = tiny_classifier(base), tiny_preprocessor(base)
    with torch.no_grad():
        bias = next(parameter for name, parameter in model.backbone.named_parameters() if name.endswith("bias"))
        bias[0] = -0.0 if bias[0] == 0 else torch.nextafter(bias[0], torch.tensor(1.0))
    save_classifier(model, preprocessor, tmp_path / "saved", base=base)
    assert tensors_sha256(load_classifier(tmp_path / "saved").state_dict()) == tensors_sha256(model.state_dict())


def test_weights_of_half_the_precision_in_several_files_are_saved_as_they_are_published(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    (base / "model.safetensors").unlink()
    AutoModel.from_config(AutoConfig.from_pretrained(base)).half().save_pretrained(base, max_shard_size="10KB")
    model = tiny_classifier(base)
    save_classifier(model, tiny_preprocessor(base), tmp_path / "saved", base=base)
    published = {path.name: path.read_bytes() for path in base.glob("model*")}
    assert len(published) > 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "saved").glob("model*")} == published
    assert tensors_sha256(load_classifier(tmp_path / "saved").state_dict()) == tensors_sha256(model.state_dict())


@pytest.mark.parametrize("family", MEDIA)
def test_from_scratch_the_seed_alone_decides_about_the_weights(tmp_path: Path, family: MediaArchitecture) -> None:
    base = write_tiny_media_model(tmp_path / "base", family)

    def scratch(seed: int) -> dict[str, torch.Tensor]:
        outputs, reading = Outputs("single_label", ("0", "1")), Reading(kind_of(family))
        return load_base(base, outputs, reading=reading, seed=seed, scratch=True).state_dict()

    trained = tiny_media_classifier(base, family).state_dict()
    for weights in base.glob("*.safetensors"):
        weights.unlink()
    one, same, other = scratch(1), scratch(1), scratch(2)
    assert {name: tensor.shape for name, tensor in one.items()} == {name: t.shape for name, t in trained.items()}
    assert all(torch.equal(tensor, same[name]) for name, tensor in one.items())
    # Biases and norms begin alike; so do sines, and constants of some architectures.
    matrices = [name for name, tensor in one.items() if tensor.ndim > 1 and bool((tensor != tensor.flatten()[0]).any())]
    assert len(matrices) > 2
    for name in [name for name in matrices if "embed_positions" not in name]:
        assert not torch.equal(one[name], other[name])
        assert not torch.equal(one[name], trained[name])


@pytest.mark.parametrize("family", MEDIA)
def test_an_input_gets_the_probabilities_that_it_gets_in_other_company(
    tmp_path: Path, family: MediaArchitecture
) -> None:
    predictor, inputs = predictor_of(saved(tmp_path, family)), files(family, 6)
    together = predictor.predict(inputs)
    assert len({tuple(row) for row in together.round(5)}) > 1
    for place, content in enumerate(inputs):
        assert predictor.predict([content])[0] == pytest.approx(together[place], abs=1e-5)


@pytest.mark.parametrize("family", ["timm resnet", "wav2vec2"])
def test_bytes_base64_and_files_are_the_same_input(tmp_path: Path, family: MediaArchitecture) -> None:
    predictor, (content,) = predictor_of(saved(tmp_path, family)), files(family, 1)
    path = tmp_path / "a file"
    path.write_bytes(content)
    forms = [content, bytearray(content), base64.b64encode(content).decode(), path]
    # Each alone: in one batch, the place in it may decide the last bits.
    assert len({tuple(row) for form in forms for row in predictor.predict([form])}) == 1


def test_a_picture_of_16_bits_is_read_with_the_bits_that_the_model_learned_with(tmp_path: Path) -> None:
    base = write_tiny_image_model(tmp_path / "base", "timm resnet")
    reading = Reading("image", sample_bits=12)
    outputs = Outputs("single_label", ("a", "b"))
    save_classifier(
        load_base(base, outputs, reading=reading, seed=0), load_preprocessor(base, reading), tmp_path / "adapted"
    )
    adapted = load_preprocessor(tmp_path / "adapted")
    grey = np.random.default_rng(0).integers(0, 2**8, (40, 40)).astype(np.uint16)
    deep, plain = (png_of(values) for values in (grey << 4, grey.astype(np.uint8)))
    pixels = [adapted.collate(adapted.encode([content]))["pixel_values"] for content in (deep, plain)]
    assert torch.equal(*pixels)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("nowhere.png", r"input 1 is 'nowhere\.png', expected the bytes of an image or their base64 text"),
        (__file__, r"input 1 is '/.*, expected the bytes of an image or their base64 text \(a Python program may also"),
        (Path("nowhere.png"), r"input 1: the file cannot be read \(No such file"),
        (Path(), r"input 1: is a folder or device, expected a file"),
        (None, "input 1 is None, expected"),
        ("", "input 1 is '', expected"),
        (7, "input 1 is 7, expected"),
        (b"no image", r"input 1: no image that can be read \(no readable PNG, JPEG or WebP image"),
    ],
)
def test_what_is_no_image_is_named_by_its_place(tmp_path: Path, wrong: object, said: str) -> None:
    predictor = predictor_of(saved(tmp_path, "timm resnet"))
    with pytest.raises(ValueError, match=said):
        predictor.predict([files("timm resnet", 1)[0], wrong])


@pytest.mark.parametrize("family", ["timm resnet", "hubert"])
def test_nothing_is_told_of_a_file_that_a_program_names_and_that_is_something_else(
    tmp_path: Path, family: MediaArchitecture
) -> None:
    predictor = predictor_of(saved(tmp_path, family))
    (tmp_path / "secret").write_bytes(b"password=1234")
    with pytest.raises(
        ValueError, match=r"input 0: no (image|sound) that can be read \(of another format, dam"
    ) as caught:
        predictor.predict([tmp_path / "secret"])
    assert "password" not in str(caught.value)


def test_what_is_no_sound_is_named_by_its_place(tmp_path: Path) -> None:
    predictor = predictor_of(saved(tmp_path, "hubert"))
    with pytest.raises(ValueError, match=r"input 1: no sound that can be read \(.*leave it out or mend it"):
        predictor.predict([*files("hubert", 1), files("hubert", 1)[0][:200]])


def test_a_sound_too_short_for_the_convolutions_is_refused(tmp_path: Path) -> None:
    base = write_tiny_audio_model(tmp_path / "base", "hubert")
    preprocessor = load_preprocessor(base, Reading("audio", max_seconds=0.01))
    with pytest.raises(ValueError, match=r"input 0: 160 samples at 16000 Hz, of which the model hears nothing"):
        preprocessor.encode(files("hubert", 1))


def test_a_file_that_changed_after_it_was_validated_is_refused(tmp_path: Path) -> None:
    base = write_tiny_image_model(tmp_path / "base", "timm resnet")
    preprocessor = load_preprocessor(base, Reading("image"))
    (tmp_path / "a.png").write_bytes(files("timm resnet", 1)[0])
    rows = preprocessor.encode([Medium("data/a.png", tmp_path / "a.png", sha256="0" * 64)])
    with pytest.raises(DataRefusedError, match=r"data/a\.png: the file has sha256 .*, expected 000000000000"):
        preprocessor.collate(rows)


@pytest.mark.parametrize("family", AUDIO_ARCHITECTURES)
def test_a_sound_is_heard_alike_beside_a_longer_one(tmp_path: Path, family: AudioArchitecture) -> None:
    base = write_tiny_audio_model(tmp_path / "base", family)
    model, rows = tiny_media_classifier(base, family).eval(), tiny_media_rows(base, family, 5)
    chosen = [3, 0, 4, 1, 2]
    with torch.no_grad():
        together = rows.logits(model, chosen)
        alone = torch.cat([model(**rows.batch([row])) for row in chosen])
    assert len({rows.lengths[row] for row in chosen}) > 1 or family == "whisper"
    assert torch.allclose(together, alone, atol=1e-5)


def test_sounds_of_group_normed_models_are_predicted_beside_equally_long_ones_only(tmp_path: Path) -> None:
    base = write_tiny_audio_model(tmp_path / "base", "wav2vec2 group norm")
    rows = tiny_media_rows(base, "wav2vec2 group norm", 7)
    batches = rows.preprocessor.batches(rows.lengths)
    assert sorted(row for batch in batches for row in batch) == list(range(7))
    assert all(len({rows.lengths[row] for row in batch}) == 1 for batch in batches)


@pytest.mark.parametrize("family", AUDIO_ARCHITECTURES)
def test_only_so_many_seconds_are_heard(tmp_path: Path, family: AudioArchitecture) -> None:
    base = write_tiny_audio_model(tmp_path / "base", family)
    whole, cut = (load_preprocessor(base, Reading("audio", max_seconds=seconds)) for seconds in (30.0, 0.1))
    model, contents = tiny_media_classifier(base, family).eval(), files(family, 2)
    with torch.no_grad():
        first, second = (model(**reader.collate(reader.encode(contents))) for reader in (whole, cut))
    assert not torch.allclose(first, second, atol=1e-4)
    assert whole.key(whole.encode(contents)[0]) != cut.key(cut.encode(contents)[0])


@pytest.mark.parametrize("family", MEDIA)
def test_a_checkpoint_that_lacks_a_tensor_is_refused(tmp_path: Path, family: MediaArchitecture) -> None:
    base = write_tiny_media_model(tmp_path / "base", family)
    weights = load_file(base / "model.safetensors")
    name = next(name for name in weights if name.endswith("weight") and "decoder" not in name)
    lacking = {key: tensor for key, tensor in weights.items() if key != name}
    save_file(lacking, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(BaseModelRefusedError, match=r"base: the weights lack 1 tensors of .*graftline lock"):
        tiny_media_classifier(base, family)


def test_the_old_classifier_of_a_timm_checkpoint_is_left_out(tmp_path: Path) -> None:
    base = write_tiny_image_model(tmp_path / "base", "timm resnet")
    weights = load_file(base / "model.safetensors")
    save_file(weights | {"head.weight": torch.zeros(3, 96)}, base / "model.safetensors")
    tiny_media_classifier(base, "timm resnet")
    save_file(weights | {"layer9.weight": torch.zeros(3)}, base / "model.safetensors")
    with pytest.raises(BaseModelRefusedError, match=r"hold 1 tensors that ResNet has no place for \(first: layer9"):
        tiny_media_classifier(base, "timm resnet")


@pytest.mark.parametrize("argument", ["checkpoint_path", "pretrained", "cache_dir"])
def test_a_configuration_that_names_other_weights_is_refused(tmp_path: Path, argument: str) -> None:
    base = write_tiny_image_model(tmp_path / "base", "timm resnet")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"model_args": {argument: "/elsewhere"}}))
    with pytest.raises(BaseModelRefusedError, match=f"holds '{argument}', which decides where weights come from"):
        tiny_media_classifier(base, "timm resnet")


def test_an_architecture_that_timm_does_not_know_is_refused(tmp_path: Path) -> None:
    base = write_tiny_image_model(tmp_path / "base", "timm resnet")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"architecture": "resnet_of_tomorrow"}))
    with pytest.raises(BaseModelRefusedError, match=r"the architecture 'resnet_of_tomorrow', which timm .* does not"):
        tiny_media_classifier(base, "timm resnet")


@pytest.mark.parametrize(
    ("kind", "family", "said"),
    [
        ("text", "timm resnet", r"is test_resnet of timm, a model of images, but data\.kind is text"),
        ("audio", "timm resnet", r"is test_resnet of timm, a model of images, but data\.kind is audio"),
        ("audio", "resnet", "holds no feature extractor"),
        ("text", "hubert", "holds no tokenizer"),
        ("image", "bert", "holds no image processor"),
        ("audio", "bert", "holds no feature extractor"),
    ],
)
def test_a_model_of_another_kind_is_refused(tmp_path: Path, kind: str, family: str, said: str) -> None:
    if family == "bert":
        base = write_tiny_model(tmp_path / "base")
    else:
        base = write_tiny_media_model(tmp_path / "base", family)  # type: ignore[arg-type]
    with pytest.raises(BaseModelRefusedError, match=said):
        load_preprocessor(base, Reading(kind))  # type: ignore[arg-type]


@pytest.mark.parametrize("family", [name for name in IMAGE_ARCHITECTURES if name not in LARGE])
def test_frozen_batch_norm_statistics_stay_and_are_part_of_the_digest(
    tmp_path: Path, family: ImageArchitecture
) -> None:
    base = write_tiny_image_model(tmp_path / "base", family)
    model, rows = tiny_media_classifier(base, family), tiny_media_rows(base, family, 4)
    batch = rows.batch(range(4))
    point = freeze(model, "partial", find_blocks(model)[-1], example=batch)
    before = frozen_sha256(model, point)
    statistics = {name: tensor.clone() for name, tensor in model.named_buffers() if "running" in name}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    train_mode(model, point)
    for _ in range(2):
        nn.functional.cross_entropy(model(**batch), rows.targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    assert frozen_sha256(model, point) == before
    frozen = [name for name in statistics if name.rpartition(".")[0] in point.frozen_modules]
    assert all(torch.equal(model.get_buffer(name), statistics[name]) for name in frozen)
    assert bool(frozen) == ("resnet" in family or "efficientnet" in family)
    for name in frozen[:1]:
        model.get_buffer(name).add_(1e-3)
        assert frozen_sha256(model, point) != before


def test_a_declared_pattern_says_which_modules_are_blocks(tmp_path: Path) -> None:
    base = write_tiny_image_model(tmp_path / "base", "timm convnext")
    model = load_base(
        base, Outputs("single_label", ("a", "b")), reading=Reading("image"), seed=0, block_pattern=r"stages\.\d+"
    )
    assert find_blocks(model) == tuple(f"backbone.stages.{stage}" for stage in range(4))


def test_a_declared_pattern_that_fits_nothing_is_refused_with_names_that_there_are(tmp_path: Path) -> None:
    base = write_tiny_image_model(tmp_path / "base", "timm convnext")
    model = load_base(
        base, Outputs("single_label", ("a", "b")), reading=Reading("image"), seed=0, block_pattern=r"layers\.\d+"
    )
    with pytest.raises(SettingsError, match=r"'layers\\\\.\\\\d\+' fits 0 modules .* ConvNeXt.* called stem\.0"):
        find_blocks(model)


# As their configurations say no width, or another one; none is in a table of ours.
UNKNOWN_IMAGES: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {"depth_multiplier": 0.25, "image_size": 32},
    "segformer": {"hidden_sizes": [8, 8, 12, 12], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]},
    "mobilevit": {"image_size": 32, "hidden_sizes": [8, 8, 12], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16]},
}


@pytest.mark.parametrize("family", UNKNOWN_IMAGES)
def test_an_unknown_kind_of_image_model_gives_vectors_and_is_saved(tmp_path: Path, family: str) -> None:
    base = write_tiny_image_model(tmp_path / "base", "vit")
    backbone = AutoModel.from_config(AutoConfig.for_model(family, **UNKNOWN_IMAGES[family]))
    for matrix in (parameter for parameter in backbone.parameters() if parameter.ndim > 1):
        nn.init.normal_(matrix, std=0.3)
    backbone.save_pretrained(base)
    outputs, reading = Outputs("single_label", ("a", "b", "c")), Reading("image")
    model, preprocessor = load_base(base, outputs, reading=reading, seed=0).eval(), load_preprocessor(base, reading)
    batch = preprocessor.collate(preprocessor.encode(files("vit", 2)))
    with torch.no_grad():
        said = model(**batch)
        assert said.shape == (2, 3)
        assert not torch.allclose(said[0], said[1])
        save_classifier(model, preprocessor, tmp_path / "saved")
        assert torch.equal(load_classifier(tmp_path / "saved")(**batch), said)


def test_a_model_that_makes_no_vector_of_a_picture_is_refused(tmp_path: Path) -> None:
    base = write_tiny_image_model(tmp_path / "base", "vit")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    AutoModel.from_config(AutoConfig.for_model("bert", vocab_size=8, **sizes)).save_pretrained(base)
    with pytest.raises(BaseModelRefusedError, match="BertModel says nothing of a picture of 224 x 224 pixels"):
        load_base(base, Outputs("single_label", ("a", "b")), reading=Reading("image"), seed=0)


def test_a_model_whose_blocks_cannot_be_found_is_told_what_to_declare(tmp_path: Path) -> None:
    model = tiny_media_classifier(write_tiny_media_model(tmp_path / "base", "timm resnet"), "timm resnet")
    with pytest.raises(SettingsError, match=r"strategy lora: .* name its blocks with adaptation\.block_pattern"):
        add_lora(model, (), rank=2, alpha=4, dropout=0.0, targets=None)


@pytest.mark.parametrize("setting", ["block_pattern", "lora_targets"])
def test_a_pattern_that_is_no_regular_expression_is_refused_when_the_settings_are_read(setting: str) -> None:
    with pytest.raises(SettingsError, match=rf"adaptation\.{setting}.*'\[' is no regular expression"):
        parse_settings({"data": {"path": "a.csv", "labels": ["a", "b"]}, "adaptation": {setting: "["}}, source="a test")
