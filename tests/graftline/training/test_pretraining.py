"""Continued pre-training: the losses and masks of transformers, the same after a cut, and nothing of the rows held."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DataCollatorForLanguageModeling, T5Config, Trainer, TrainingArguments

from graftline.compute import embedding_gradients
from graftline.digests import tensors_sha256
from graftline.errors import BaseModelRefusedError, SettingsError
from graftline.models.language_models import NOT_PREDICTED, LoadedLanguageModel, load_language_model
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.masking import HIDDEN_SHARE, PREDICTED_SHARE, REPLACED_SHARE, LanguageRows, TokenLoss
from graftline.training.pretraining import FEWEST_TEXTS, HELD_SHARE, Pretrained, Pretraining
from graftline.training.progress import DivergedError, Listener, Progress
from tests.support.tiers import sampled
from tests.support.tiny_models import (
    ARCHITECTURES,
    Architecture,
    tiny_preprocessor,
    tiny_texts,
    tiny_tokenizer,
    write_tiny_model,
)

Ids = np.ndarray[Any, np.dtype[np.int64]]
TEXTS = tiny_texts(48)[0]
SETTINGS = AdaptationSettings(
    pretraining_epochs=2, pretraining_learning_rate=5e-3, batch_size=8, max_tokens=32, seed=3, device="cpu"
)


class PowerCutError(Exception):
    """Stands in for whatever ends a process in the middle of a training."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "base")


def pretrained(
    base: Path, folder: Path, cut_at: int | None = None, settings: AdaptationSettings = SETTINGS
) -> tuple[LoadedLanguageModel, Pretrained]:
    steps: list[int] = []

    def progress(told: Progress) -> None:
        steps.append(told.step)
        if len(steps) == cut_at:
            raise PowerCutError

    loaded = load_language_model(base, seed=settings.seed)
    return loaded, Pretraining(loaded, tiny_preprocessor(base), TEXTS, settings, folder, Listener(progress)).run()


@pytest.mark.parametrize("architecture", sampled(ARCHITECTURES, "bert", "gpt2"))
def test_the_loss_of_a_batch_is_that_of_transformers_collator_and_trainer(
    architecture: Architecture, tmp_path: Path
) -> None:
    folder = write_tiny_model(tmp_path / "base", architecture)
    loaded, preprocessor = load_language_model(folder, seed=0), tiny_preprocessor(folder)
    rows = preprocessor.encode(TEXTS[:16])
    torch.manual_seed(5)
    is_masked = loaded.modelling == "masked"
    collator = DataCollatorForLanguageModeling(preprocessor.tokenizer, mlm=is_masked, mlm_probability=0.5)
    batch = dict(collator([{name: row[name].tolist() for name in row} for row in rows]))
    if not is_masked:  # whose padding is the token of unknown words
        batch["labels"][batch["attention_mask"] == 0] = NOT_PREDICTED
    trainer = Trainer(loaded.model.head, TrainingArguments(str(tmp_path / "trainer"), report_to="none", use_cpu=True))
    loaded.model.eval()
    with torch.no_grad():
        theirs = float(trainer.compute_loss(loaded.model.head, {**batch}))
        labels = batch.pop("labels")
        if not is_masked:  # which transformers moves inside
            labels = torch.cat([labels[:, 1:], torch.full((len(labels), 1), NOT_PREDICTED)], 1)
        outputs = loaded.model(labels=labels, **batch)
    ours = float(TokenLoss().loss(outputs, torch.zeros(len(outputs))))
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert outputs[:, 1].tolist() == (labels != NOT_PREDICTED).sum(1).tolist()


def test_tokens_are_predicted_hidden_and_replaced_as_often_as_by_transformers_collator(base: Path) -> None:
    preprocessor = tiny_preprocessor(base)
    tokenizer = preprocessor.tokenizer
    encoded = preprocessor.encode(tiny_texts(4000)[0])
    rows = LanguageRows(preprocessor, encoded, "masked", 0).in_epoch(0)
    torch.manual_seed(0)
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=PREDICTED_SHARE)
    theirs = collator([{"input_ids": row["input_ids"].tolist()} for row in encoded])
    padded = preprocessor.collate(encoded)["input_ids"].numpy()

    def shares(read: Ids, labels: Ids, plain: Ids) -> list[float]:
        predicted = labels != NOT_PREDICTED
        assert (labels[predicted] == plain[predicted]).all()
        assert not np.isin(plain[predicted], tokenizer.all_special_ids).any()
        assert (read[~predicted] == plain[~predicted]).all()
        words = ~np.isin(plain, tokenizer.all_special_ids)
        hidden = read[predicted] == tokenizer.mask_token_id
        return [predicted[words].mean(), hidden.mean(), (~hidden & (read[predicted] != plain[predicted])).mean()]

    flat = [np.concatenate(part).astype(np.int64) for part in ([row["input_ids"] for row in rows.read], rows.labels)]
    ours = shares(
        flat[0].astype(np.int64), flat[1].astype(np.int64), np.concatenate([row["input_ids"] for row in encoded])
    )
    # About 24,000 words, of which 3,600 are predicted: four standard errors of their shares.
    assert ours == pytest.approx(shares(theirs["input_ids"].numpy(), theirs["labels"].numpy(), padded), abs=0.04)
    assert ours == pytest.approx([PREDICTED_SHARE, HIDDEN_SHARE, REPLACED_SHARE], abs=0.03)


def test_other_tokens_are_predicted_in_each_epoch_and_the_same_by_the_same_seed(base: Path) -> None:
    preprocessor = tiny_preprocessor(base)
    rows = LanguageRows(preprocessor, preprocessor.encode(TEXTS), "masked", 0)

    def labels(of: LanguageRows, epoch: int) -> list[list[int]]:
        return [row.tolist() for row in of.in_epoch(epoch).labels]

    assert labels(rows, 0) == labels(rows, 0)
    assert labels(rows, 0) != labels(rows, 1)
    assert labels(rows, 0) != labels(replace(rows, seed=1), 0)
    assert [len(row) for row in labels(rows, 0)] == list(rows.lengths)


def test_a_batch_of_which_by_chance_nothing_is_predicted_changes_nothing(base: Path) -> None:
    loaded, preprocessor = load_language_model(base, seed=0), tiny_preprocessor(base)
    rows = LanguageRows(preprocessor, preprocessor.encode(TEXTS[:2]), "masked", 0).in_epoch(0)
    nothing = replace(rows, labels=[np.full_like(row, NOT_PREDICTED) for row in rows.labels])
    outputs = nothing.logits(loaded.model, [0, 1])
    loss = TokenLoss().loss(outputs, nothing.targets)
    loss.backward()  # type: ignore[no-untyped-call]
    assert (float(loss.detach()), outputs.tolist()) == (0, [[0, 0], [0, 0]])
    gradients = [one.grad for one in loaded.model.parameters() if one.grad is not None]
    assert all(torch.equal(one, torch.zeros_like(one)) for one in gradients)


def test_a_backbone_learns_to_predict_tokens_of_texts_that_are_held_back(base: Path, tmp_path: Path) -> None:
    many = SETTINGS.model_copy(update={"pretraining_epochs": 6})
    loaded, done = pretrained(base, tmp_path, settings=many)
    assert (loaded.modelling, loaded.new_head) == ("masked", True)
    assert done.held == round(HELD_SHARE * len(set(TEXTS)))
    assert done.texts + done.held == len(set(TEXTS))
    assert done.loss < 0.95 * done.loss_before
    assert done.loss == min(epoch.validation_loss for epoch in done.epochs)
    untouched = load_language_model(base, seed=3).model.state_dict()
    changed = [name for name, one in loaded.model.state_dict().items() if not torch.equal(one, untouched[name])]
    assert "backbone.encoder.layer.0.attention.self.query.weight" in changed
    assert "backbone.embeddings.word_embeddings.weight" in changed


def test_a_cut_pre_training_goes_on_and_ends_with_the_same_weights(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, done = pretrained(base, tmp_path / "whole")
    monkeypatch.setattr("graftline.training.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(PowerCutError):
        pretrained(base, tmp_path / "cut", cut_at=8)
    resumed, again = pretrained(base, tmp_path / "cut")
    assert tensors_sha256(resumed.model.state_dict()) == tensors_sha256(whole.model.state_dict())
    assert again == done


def test_a_table_of_embeddings_that_predicts_tokens_too_learns_in_every_row(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = pretrained(base, tmp_path / "plain")
    # As of a table of usual size, whose gradients lie in memory that is used again.
    monkeypatch.setattr(embedding_gradients, "LARGE", 0)
    recycled, _ = pretrained(base, tmp_path / "recycled")
    for name, tensor in plain.model.state_dict().items():
        assert torch.allclose(recycled.model.state_dict()[name], tensor, atol=1e-5), name


def test_a_head_that_the_folder_holds_is_taken(base: Path, tmp_path: Path) -> None:
    loaded = load_language_model(base, seed=0)
    with torch.no_grad():
        loaded.model.head.get_parameter("cls.predictions.bias").fill_(0.25)
    loaded.model.head.save_pretrained(tmp_path / "whole")  # type: ignore[operator]  # of transformers
    tiny_tokenizer().save_pretrained(tmp_path / "whole")
    again = load_language_model(tmp_path / "whole", seed=9)
    assert not again.new_head
    assert float(again.model.head.get_parameter("cls.predictions.bias").detach().mean()) == 0.25


def test_an_architecture_without_a_language_model_of_one_piece_is_refused(tmp_path: Path) -> None:
    T5Config(d_model=16, num_layers=1, num_heads=2, vocab_size=32).save_pretrained(tmp_path / "t5")
    said = (
        "pretraining_epochs: t5 is of the architecture t5, of which transformers has no language model .* set it to 0"
    )
    with pytest.raises(SettingsError, match=said):
        load_language_model(tmp_path / "t5", seed=0)


def test_a_base_model_that_lacks_weights_of_its_backbone_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "cut")
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelRefusedError, match=r"cut: the weights lack 1 tensors of BertForMaskedLM"):
        load_language_model(folder, seed=0)


def test_a_tokenizer_that_can_hide_nothing_is_refused(base: Path) -> None:
    preprocessor = replace(tiny_preprocessor(base), tokenizer=tiny_tokenizer(special=False))
    rows = LanguageRows(preprocessor, tiny_preprocessor(base).encode(TEXTS), "masked", 0)
    with pytest.raises(SettingsError, match=r"tokenizer has no token that hides others .* set it to 0 or choose"):
        rows.in_epoch(0)


def test_too_few_different_texts_are_refused(base: Path, tmp_path: Path) -> None:
    texts = [*TEXTS[: FEWEST_TEXTS - 1]] * 3
    loaded = load_language_model(base, seed=0)
    said = f"there are {len(set(texts))} different texts to learn from, expected {FEWEST_TEXTS} or more; set it to 0"
    with pytest.raises(SettingsError, match=said):
        Pretraining(loaded, tiny_preprocessor(base), texts, SETTINGS, tmp_path).run()


def test_a_pre_training_that_diverges_names_its_own_rate(base: Path, tmp_path: Path) -> None:
    loaded = load_language_model(base, seed=0)
    with torch.no_grad():
        loaded.model.get_parameter("backbone.embeddings.LayerNorm.bias").fill_(torch.nan)
    with pytest.raises(DivergedError, match=r"lower adaptation\.pretraining_learning_rate, which is 0\.005"):
        Pretraining(loaded, tiny_preprocessor(base), TEXTS, SETTINGS, tmp_path).run()
