"""Predicting: the model's own numbers, one row per text, whatever stands beside it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from graftline.answers.predicting import predictor_of
from graftline.models import text_models
from graftline.models.folders import load_classifier, save_classifier
from tests.support.tiny_models import (
    ARCHITECTURES,
    Architecture,
    tiny_classifier,
    tiny_preprocessor,
    tiny_texts,
    write_tiny_model,
)


def saved(folder: Path, architecture: Architecture = "bert") -> Path:
    base = write_tiny_model(folder / "base", architecture)
    save_classifier(tiny_classifier(base), tiny_preprocessor(base), folder / "model")
    return folder / "model"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_text_gets_the_probabilities_that_it_gets_in_a_batch(tmp_path: Path, architecture: Architecture) -> None:
    predictor, texts = predictor_of(saved(tmp_path, architecture)), tiny_texts(8)[0]
    alone = np.concatenate([predictor.predict([text]) for text in texts])
    assert predictor.predict(texts) == pytest.approx(alone, abs=1e-6)


def test_probabilities_are_the_softmax_of_the_models_logits(tmp_path: Path) -> None:
    folder, texts = saved(tmp_path), tiny_texts(1)[0]
    preprocessor = tiny_preprocessor(folder)
    with torch.no_grad():
        logits = load_classifier(folder)(**preprocessor.collate(preprocessor.encode(texts)))
    expected = (logits.double().exp() / logits.double().exp().sum()).numpy()
    assert predictor_of(folder).predict(texts) == pytest.approx(expected)


def test_rows_come_back_in_the_order_of_the_texts_over_several_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, texts = predictor_of(saved(tmp_path)), tiny_texts(9)[0]
    forwards = predictor.predict(texts)
    monkeypatch.setattr(text_models, "BATCH_ROWS", 2)
    assert predictor.predict(texts[::-1])[::-1] == pytest.approx(forwards, abs=1e-6)
    assert len({tuple(row) for row in forwards.round(4)}) > 4


def test_rows_add_up_to_one(tmp_path: Path) -> None:
    assert predictor_of(saved(tmp_path)).predict(tiny_texts(6)[0]).sum(1) == pytest.approx(np.ones(6))


def test_no_texts_are_no_rows(tmp_path: Path) -> None:
    assert predictor_of(saved(tmp_path)).predict([]).shape == (0, 2)


def test_a_predictor_names_the_labels_of_its_columns(tmp_path: Path) -> None:
    assert predictor_of(saved(tmp_path)).outputs.labels == ("bad", "good")


def test_the_temperature_of_a_saved_model_divides_its_outputs_once(tmp_path: Path) -> None:
    base, texts = write_tiny_model(tmp_path / "base"), tiny_texts(6)[0]
    model = tiny_classifier(base)
    save_classifier(model, tiny_preprocessor(base), tmp_path / "plain")
    model.outputs = replace(model.outputs, temperature=0.25)
    save_classifier(model, tiny_preprocessor(base), tmp_path / "calibrated")
    plain, calibrated = predictor_of(tmp_path / "plain"), predictor_of(tmp_path / "calibrated")
    assert torch.equal(plain.features(texts).outputs, calibrated.features(texts).outputs)
    powers = plain.predict(texts) ** 4
    assert calibrated.predict(texts) == pytest.approx(powers / powers.sum(1, keepdims=True))


def test_features_hold_what_the_answers_are_made_of(tmp_path: Path) -> None:
    folder, texts = saved(tmp_path), tiny_texts(6)[0]
    predictor = predictor_of(folder)
    features = predictor.features(texts)
    np.testing.assert_array_equal(predictor.answers(features.outputs), predictor.predict(texts))
    with torch.no_grad():
        assert torch.allclose(load_classifier(folder).head(features.vectors), features.outputs, atol=1e-6)
