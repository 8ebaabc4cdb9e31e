"""What a user does not write has the default of the kind of input, and keys notice."""

from typing import Any

import pytest

from graftline.settings import AdaptationSettings, Settings
from graftline.settings.by_kind import BESIDE_TRAINING, BY_KIND
from graftline.settings.by_value import by_value
from graftline.settings.data import Kind


def settings(kind: Kind, **adaptation: Any) -> Settings:
    tree = {
        "data": {"path": "data/rows.csv", "kind": kind},
        "base_model": {"uri": "path:base"},
        "registry": {"model": "tiny"},
    }
    return Settings.model_validate({**tree, "adaptation": {"device": "cpu", **adaptation}})


@pytest.mark.parametrize("kind", BY_KIND)
def test_what_is_not_written_has_the_default_of_the_kind(kind: Kind) -> None:
    expected = AdaptationSettings.model_validate({"device": "cpu", **BY_KIND[kind]})
    assert settings(kind).adaptation == expected


def test_without_a_kind_or_a_section_those_of_texts_hold() -> None:
    tree = {"data": {"path": "data/rows.csv"}, "base_model": {"uri": "path:base"}, "registry": {"model": "tiny"}}
    assert Settings.model_validate(tree).adaptation == AdaptationSettings.model_validate(BY_KIND["text"])


def test_what_is_beside_the_training_stands_beside_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BY_KIND, "image", {"learning_rate": 3e-4, "epochs": 5})
    made = settings("image", seed=3, threads=1).adaptation
    assert (made.learning_rate, made.epochs, made.seed, made.threads) == (3e-4, 5, 3, 1)


@pytest.mark.parametrize("name", sorted(BESIDE_TRAINING))
def test_what_is_beside_the_training_is_the_name_of_a_setting(name: str) -> None:
    assert name in AdaptationSettings.model_fields


@pytest.mark.parametrize("written", [{"strategy": "lora"}, {"epochs": 3}, {"freeze_until": "3", "strategy": "partial"}])
def test_whoever_writes_about_the_training_gets_no_value_that_was_measured_with_another(
    monkeypatch: pytest.MonkeyPatch, written: dict[str, Any]
) -> None:
    monkeypatch.setitem(BY_KIND, "image", {"learning_rate": 3e-4, "strategy": "feature_extraction"})
    assert settings("image", **written).adaptation == AdaptationSettings(device="cpu", **written)


def test_keys_notice_the_default_of_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BY_KIND, "audio", {"epochs": 5})
    assert by_value(settings("audio").adaptation, "adaptation", without=["refit_rows"]) == {"epochs": 5}


def test_settings_that_were_written_down_whole_are_read_back_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings("image", learning_rate=1e-3)
    monkeypatch.setitem(BY_KIND, "image", {"epochs": 9, "batch_size": 8})
    assert Settings.model_validate(before.model_dump(mode="json")) == before
