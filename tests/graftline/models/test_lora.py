"""LoRA: the adapters start silent, learn, and can be merged without a trace."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from graftline.errors import SettingsError
from graftline.frozen.freezing import freeze
from graftline.models.blocks import find_blocks
from graftline.models.classifier import Classifier
from graftline.models.folders import save_classifier
from graftline.models.lora import add_lora, merge_lora
from graftline.models.parts import has_lora
from tests.support.tiny_media import tiny_media_classifier, tiny_media_rows, write_tiny_media_model
from tests.support.tiny_models import ARCHITECTURES, Architecture, tiny_classifier, tiny_rows, write_tiny_model


def adapted(folder: Path, architecture: Architecture, targets: str | None = None) -> tuple[Classifier, tuple[str, ...]]:
    model = tiny_classifier(write_tiny_model(folder / "base", architecture)).eval()
    blocks = find_blocks(model)[1:]
    return model, add_lora(model, blocks, rank=2, alpha=4, dropout=0.0, targets=targets)


def batch_of(folder: Path) -> dict[str, Tensor]:
    return tiny_rows(folder / "base", 4).batch(range(4))


def learn(model: nn.Module, batch: dict[str, Tensor]) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(3):
        nn.functional.cross_entropy(model(**batch), torch.tensor([0, 1, 0, 1])).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_adapters_start_silent_learn_and_merge_into_the_same_answers(
    tmp_path: Path, architecture: Architecture
) -> None:
    model, _ = adapted(tmp_path, architecture)
    plain = tiny_classifier(tmp_path / "base").eval()
    batch = batch_of(tmp_path)
    with torch.no_grad():
        assert torch.equal(model(**batch), plain(**batch))
    freeze(model, "lora", None, example=batch)
    learn(model, batch)
    with torch.no_grad():
        learned = model(**batch)
        assert not torch.allclose(learned, plain(**batch), atol=1e-3)
        merge_lora(model)
        assert torch.allclose(model(**batch), learned, atol=1e-4)
    assert dict(model.named_parameters()).keys() == dict(plain.named_parameters()).keys()
    assert not hasattr(model, "peft_config")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_with_adapters_beside_its_weights_goes_on_as_it_was_adapted(
    tmp_path: Path, architecture: Architecture
) -> None:
    model, _ = adapted(tmp_path, architecture)
    rows, batch = tiny_rows(tmp_path / "base", 4), batch_of(tmp_path)
    freeze(model, "lora", None, example=batch)
    learn(model, batch)
    model.eval()
    with torch.no_grad():
        learned = model.features(**batch)
        (folder := tmp_path / "adapted").mkdir()
        save_classifier(model, rows.preprocessor, folder)
        again = tiny_classifier(folder).eval()
        assert torch.allclose(again.features(**batch), learned, atol=1e-4)
        assert not torch.allclose(tiny_classifier(tmp_path / "base").eval().features(**batch), learned, atol=1e-3)
    assert not has_lora(again)


def test_only_adapters_and_head_are_trained_and_only_in_the_chosen_blocks(tmp_path: Path) -> None:
    model, layers = adapted(tmp_path, "bert")
    point = freeze(model, "lora", None, example=batch_of(tmp_path))
    assert all("lora_" in name or name.startswith("head.") for name in point.trainable_parameters)
    assert {name.split(".layer.")[1][0] for name in layers} == {"1", "2"}
    assert len(layers) == 12


def test_a_pattern_that_matches_no_layer_is_refused_with_names_that_would_match(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"'qeury' matches none of the 12 layers .* backbone.encoder.layer.1.attention"
    ):
        adapted(tmp_path, "bert", "qeury")


def test_a_pattern_chooses_layers(tmp_path: Path) -> None:
    _, layers = adapted(tmp_path, "bert", r"query|value")
    assert len(layers) == 4


@pytest.mark.full
def test_a_block_that_is_itself_a_layer_is_adapted(tmp_path: Path) -> None:
    base = write_tiny_media_model(tmp_path / "base", "timm vgg")
    model = tiny_media_classifier(base, "timm vgg").eval()
    blocks = find_blocks(model)
    assert add_lora(model, blocks[1:], rank=2, alpha=4, dropout=0.0, targets=None) == blocks[1:]
    batch = tiny_media_rows(base, "timm vgg", 2).batch(range(2))
    point = freeze(model, "lora", None, example=batch)
    assert all("lora_" in name or name.startswith("head.") for name in point.trainable_parameters)
    with torch.no_grad():
        plain = model(**batch)
        merge_lora(model)
        assert torch.equal(model(**batch), plain)
    assert find_blocks(model) == blocks


def test_a_model_without_any_layer_to_adapt_is_refused(tmp_path: Path) -> None:
    model = tiny_classifier(write_tiny_model(tmp_path / "base", "bert"))
    with pytest.raises(SettingsError, match="strategy lora: the blocks of this model have no linear layer"):
        add_lora(model, ("backbone.embeddings",), rank=2, alpha=4, dropout=0.0, targets=None)
