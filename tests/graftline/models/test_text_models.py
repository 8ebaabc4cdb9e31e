"""Text models: loaded whole or refused, saved and loaded without a difference, pooled over what is no padding."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from graftline.errors import BaseModelRefusedError, SettingsError
from graftline.frozen.store import FeatureStore
from graftline.models.classifier import Classifier
from graftline.models.folders import load_base, load_classifier, save_classifier
from graftline.models.outputs import Outputs
from graftline.models.pooling import Pooling, pool
from graftline.models.preprocessing import Reading
from graftline.models.text_models import load_text_preprocessor
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.single_label import objective_for
from graftline.training.strategies import Adaptation
from tests.support.tiny_models import (
    ARCHITECTURES,
    READING,
    Architecture,
    tiny_classifier,
    tiny_preprocessor,
    tiny_rows,
    tiny_texts,
    tiny_tokenizer,
    write_tiny_model,
)

OUTPUTS = Outputs("single_label", ("bad", "good"))


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "base")


def logits(model: Classifier, folder: Path, texts: list[str]) -> torch.Tensor:
    preprocessor = tiny_preprocessor(folder)
    with torch.no_grad():
        output: torch.Tensor = model.eval()(**preprocessor.collate(preprocessor.encode(texts)))
    return output


def test_a_checkpoint_that_lacks_a_tensor_of_the_backbone_is_refused(bert: Path) -> None:
    weights = load_file(bert / "model.safetensors")
    lacking = {name: tensor for name, tensor in weights.items() if name != "encoder.layer.1.output.dense.weight"}
    save_file(lacking, bert / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        BaseModelRefusedError, match=r"base: the weights lack 1 tensors of BertModel, .*encoder\.layer\.1\.output"
    ):
        tiny_classifier(bert)


def test_a_checkpoint_with_a_tensor_of_another_shape_is_refused(bert: Path) -> None:
    weights = load_file(bert / "model.safetensors")
    weights["encoder.layer.1.output.dense.bias"] = torch.zeros(5)
    save_file(weights, bert / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelRefusedError, match=r"encoder\.layer\.1\.output\.dense\.bias"):
        tiny_classifier(bert)


def test_a_checkpoint_without_its_pooler_is_complete(bert: Path) -> None:
    weights = load_file(bert / "model.safetensors")
    without = {name: tensor for name, tensor in weights.items() if not name.startswith("pooler.")}
    assert without.keys() != weights.keys()
    save_file(without, bert / "model.safetensors", metadata={"format": "pt"})
    assert not any("pooler" in name for name, _ in tiny_classifier(bert).named_parameters())


def test_a_tokenizer_with_more_tokens_than_the_embedding_has_rows_is_refused(bert: Path) -> None:
    grown = tiny_tokenizer()
    rows = len(grown)
    grown.add_tokens(["<late>", "<latest>"])
    grown.save_pretrained(bert)
    said = f"base: its tokenizer has {rows + 2} tokens, the last '<latest>', its embedding {rows} rows"
    with pytest.raises(BaseModelRefusedError, match=said):
        tiny_classifier(bert)


def test_an_embedding_with_more_rows_than_the_tokenizer_has_tokens_is_fine(tmp_path: Path) -> None:
    tiny_classifier(write_tiny_model(tmp_path, vocab_size=len(tiny_tokenizer()) + 28))


@pytest.mark.parametrize("written", ["{}", '{"version": "1.0"}', '{"model": {"type": "WordLevel"}}'])
def test_a_damaged_tokenizer_is_refused(bert: Path, written: str) -> None:
    (bert / "tokenizer.json").write_text(written)
    with pytest.raises(BaseModelRefusedError, match="base: holds no tokenizer that transformers can load"):
        tiny_classifier(bert)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_classifier_gives_the_same_logits(tmp_path: Path, architecture: Architecture) -> None:
    base = write_tiny_model(tmp_path / "base", architecture)
    model, texts = tiny_classifier(base), tiny_texts(6)[0]
    save_classifier(model, tiny_preprocessor(base), tmp_path / "saved")
    assert torch.equal(
        logits(load_classifier(tmp_path / "saved"), tmp_path / "saved", texts), logits(model, base, texts)
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_classifier_holds_every_tensor_of_the_model(tmp_path: Path, architecture: Architecture) -> None:
    base = write_tiny_model(tmp_path / "base", architecture)
    model = tiny_classifier(base)
    save_classifier(model, tiny_preprocessor(base), tmp_path / "saved")
    loaded = load_classifier(tmp_path / "saved").state_dict()
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


def test_the_seed_decides_the_head_and_nothing_else(bert: Path) -> None:
    first, again, other = (tiny_classifier(bert, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert [name for name in first if not torch.equal(first[name], other[name])] == ["head.1.weight"]


def _mean(hidden: torch.Tensor, read: list[int]) -> torch.Tensor:
    return torch.stack([hidden[place] for place in read]).mean(0)


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize(
    ("pooling", "reference"),
    [
        ("mean", _mean),
        ("first", lambda hidden, read: hidden[read[0]]),
        ("last", lambda hidden, read: hidden[read[-1]]),
    ],
)
def test_pooling_sees_no_padding(
    pooling: Pooling, reference: Callable[[torch.Tensor, list[int]], torch.Tensor], padding_side: str
) -> None:
    torch.manual_seed(0)
    hidden, tokens = torch.randn(4, 6, 3), [6, 1, 3, 5]
    masks = [[1] * length + [0] * (6 - length) for length in tokens]
    mask = torch.tensor([row[::-1] if padding_side == "left" else row for row in masks])
    pooled = pool(hidden, mask, pooling)
    for row in range(4):
        read = [place for place in range(6) if mask[row, place]]
        assert torch.allclose(pooled[row], reference(hidden[row], read))


@pytest.mark.parametrize(
    ("said", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": False, "pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "cls"}, "first"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({}, "mean"),
    ],
)
def test_the_pooling_that_sentence_transformers_published_is_kept(
    bert: Path, said: dict[str, Any], pooling: Pooling
) -> None:
    (bert / "1_Pooling").mkdir()
    (bert / "1_Pooling" / "config.json").write_text(json.dumps(said))
    assert tiny_classifier(bert).pooling == pooling


@pytest.mark.parametrize("saved_as", ["GPT2Model", "GPT2LMHeadModel", "GPT2ForSequenceClassification", None])
def test_a_model_that_reads_from_left_to_right_is_pooled_at_its_last_token(
    tmp_path: Path, saved_as: str | None
) -> None:
    folder = write_tiny_model(tmp_path / "base", "gpt2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": saved_as and [saved_as]}))
    assert tiny_classifier(folder).pooling == "last"


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "gpt2"])
def test_a_model_that_reads_both_ways_is_pooled_over_all_tokens(tmp_path: Path, architecture: Architecture) -> None:
    assert tiny_classifier(write_tiny_model(tmp_path / "base", architecture)).pooling == "mean"


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "deberta-v2"])
def test_texts_longer_than_the_model_has_positions_for_are_refused_before_training(
    tmp_path: Path, architecture: Architecture
) -> None:
    folder = write_tiny_model(tmp_path / "base", architecture)
    load_base(folder, OUTPUTS, reading=Reading("text", max_tokens=60), seed=0)
    with pytest.raises(SettingsError, match=r"max_tokens 65: the base model cannot read so many.* 64; lower it"):
        load_base(folder, OUTPUTS, reading=Reading("text", max_tokens=65), seed=0)


def test_half_of_a_character_is_refused_with_its_place(bert: Path) -> None:
    with pytest.raises(ValueError, match=r"input 1 has half of a character \('\\ud83d'\) at place 5, expected valid"):
        tiny_preprocessor(bert).encode(["a film", "good \ud83d film"])


def test_an_adapted_model_keeps_its_pooling_when_it_is_adapted_again(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    model = tiny_classifier(base)
    model.pooling = "first"
    save_classifier(model, tiny_preprocessor(base), tmp_path / "saved")
    assert (
        load_base(tmp_path / "saved", Outputs("single_label", ("x", "y", "z")), reading=READING, seed=0).pooling
        == "first"
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_batch_is_what_the_tokenizer_would_make_of_it(tmp_path: Path, architecture: Architecture) -> None:
    preprocessor = tiny_preprocessor(write_tiny_model(tmp_path / "base", architecture))
    rows = preprocessor.encode([*tiny_texts(5)[0], ""])
    ours, theirs = preprocessor.collate(rows), preprocessor.tokenizer.pad(rows, padding=True, return_tensors="pt")
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=0)


def test_a_tokenizer_without_a_padding_token_can_pad(tmp_path: Path) -> None:
    tiny_tokenizer(special=False).save_pretrained(tmp_path)
    preprocessor = tiny_preprocessor(tmp_path)
    batch = preprocessor.collate(preprocessor.encode(["good film", "good"]))
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]


def test_a_tokenizer_that_pads_on_the_left_is_turned_to_the_right(tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"padding_side": "left"}))
    preprocessor = tiny_preprocessor(tmp_path)
    batch = preprocessor.collate(preprocessor.encode(["good film", "good"]))
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_text_is_read_the_same_alone_and_beside_longer_ones(tmp_path: Path, architecture: Architecture) -> None:
    folder = write_tiny_model(tmp_path / "base", architecture)
    model, texts = tiny_classifier(folder), tiny_texts(8)[0]
    together = logits(model, folder, texts)
    alone = torch.cat([logits(model, folder, [text]) for text in texts])
    assert torch.allclose(together, alone, atol=1e-5)


def test_long_texts_are_cut_and_keep_their_last_special_token(bert: Path) -> None:
    preprocessor = load_text_preprocessor(bert, Reading("text", max_tokens=8))
    (row,) = preprocessor.encode(["good " * 50])
    assert (preprocessor.length(row), row["input_ids"][-1]) == (8, preprocessor.tokenizer.sep_token_id)


def test_many_texts_are_the_rows_that_they_are_one_by_one(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graftline.models.text_models.ENCODED_TEXTS", 3)
    preprocessor, texts = tiny_preprocessor(bert), tiny_texts(8)[0]
    alone = [preprocessor.encode([text])[0] for text in texts]
    assert [preprocessor.key(row) for row in preprocessor.encode(texts)] == [preprocessor.key(row) for row in alone]


def test_no_texts_are_no_rows(bert: Path) -> None:
    assert tiny_preprocessor(bert).encode([]) == []


@pytest.mark.parametrize("texts", [[""], ["", "good film"]])
def test_an_empty_text_has_logits_also_where_the_tokenizer_makes_nothing_of_it(
    tmp_path: Path, texts: list[str]
) -> None:
    folder = write_tiny_model(tmp_path / "base", "gpt2")
    assert logits(tiny_classifier(folder), folder, texts).isfinite().all()


def test_rows_carry_what_the_model_reads(bert: Path) -> None:
    rows = tiny_rows(bert, 4)
    assert [set(row) for row in rows.encoded] == [{"input_ids", "attention_mask"}] * 4


def test_texts_are_padded_to_few_lengths_for_the_frozen_part(bert: Path) -> None:
    preprocessor = load_text_preprocessor(bert, Reading("text", max_tokens=500))
    of_length = {}
    for length in range(1, 501):
        ones = np.ones(length, np.int32)
        row = preprocessor.padded({"input_ids": 5 * ones, "attention_mask": ones})
        of_length[length], padding = len(row["input_ids"]), len(row["input_ids"]) - length
        assert row["input_ids"].tolist() == [5] * length + [preprocessor.tokenizer.pad_token_id] * padding
        assert row["attention_mask"].tolist() == [1] * length + [0] * padding
    assert all(length <= padded <= min(500, length * 5 / 4) for length, padded in of_length.items())
    assert len({padded for length, padded in of_length.items() if 64 < length <= 128}) == 4
    assert sum(of_length.values()) / sum(of_length) < 1.08


TINY = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
# They keep time in front of the batch, fill texts up by themselves, give later blocks more, or call a missing pooler.
UNUSUAL: dict[str, tuple[dict[str, Any], bool]] = {
    "xlnet": ({"d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 24}, False),
    "longformer": ({**TINY, "attention_window": [4, 4, 4], "max_position_embeddings": 64}, False),
    "t5": ({"d_model": 16, "num_layers": 3, "num_decoder_layers": 3, "num_heads": 2, "d_ff": 24, "d_kv": 8}, False),
    "squeezebert": ({**TINY, "embedding_size": 16, "max_position_embeddings": 64}, False),
    "llama": ({**TINY, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64}, True),
}


@pytest.mark.parametrize("family", UNUSUAL)
def test_other_models_of_texts_learn_and_are_refused_where_their_frozen_part_cannot_be_kept(
    tmp_path: Path, family: str
) -> None:
    sizes, is_kept = UNUSUAL[family]
    base = write_tiny_model(tmp_path / "base")
    model = AutoModel.from_config(AutoConfig.for_model(family, vocab_size=64, pad_token_id=0, **sizes))
    model.save_pretrained(base)
    rows = {"train": tiny_rows(base, 12), "validation": tiny_rows(base, 6, seed=1)}

    def adapt(**chosen: Any) -> None:
        settings = AdaptationSettings(epochs=1, batch_size=4, device="cpu", **chosen)
        own = tmp_path / settings.strategy
        Adaptation(
            tiny_classifier(base), rows, settings, objective_for, lambda _: FeatureStore(own / "store"), own / "checks"
        ).run()

    adapt(strategy="probe_then_fine_tune")
    if is_kept:
        adapt(strategy="partial", freeze_until="0.5")
        return
    with pytest.raises(SettingsError, match=r"adaptation\.freeze_until: .*(more from what runs in front|no list of)"):
        adapt(strategy="partial", freeze_until="0.5")


def test_a_model_that_cannot_read_tokens_is_refused(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    AutoModel.from_config(AutoConfig.for_model("vit", image_size=8, patch_size=4, **sizes)).save_pretrained(base)
    with pytest.raises(BaseModelRefusedError, match="base: ViTModel gives no hidden states for token ids"):
        tiny_classifier(base)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"hidden_size": "wide"}, "base: transformers cannot load it .*hidden_size"),
        ({"model_type": "unheard"}, "base: transformers cannot load it .*unheard"),
    ],
)
def test_a_configuration_of_which_nothing_can_be_built_is_refused(
    bert: Path, config: dict[str, Any], said: str
) -> None:
    written = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps(written | config))
    with pytest.raises(BaseModelRefusedError, match=said):
        tiny_classifier(bert)


def test_a_tokenizer_that_stops_at_an_unknown_word_is_refused_at_load(bert: Path) -> None:
    said = json.loads((bert / "tokenizer.json").read_text())
    said["model"]["unk_token"] = "<nowhere>"
    (bert / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(BaseModelRefusedError, match=r"cannot read a word that it does not know .*Missing"):
        tiny_preprocessor(bert)
