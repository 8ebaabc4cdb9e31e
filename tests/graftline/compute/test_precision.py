"""Precision: rounding the weights beforehand changes no bit, and leaves them as they were."""

from pathlib import Path

import pytest
import torch
from pydantic import JsonValue

from graftline.compute import machine
from graftline.compute.precision import autocast, fastest_precision, narrowed
from graftline.digests import tensors_sha256
from graftline.errors import SettingsError
from graftline.frozen.freezing import freeze
from graftline.frozen.replay import capture
from graftline.settings import Settings, parse_settings
from tests.support.tiny_models import ARCHITECTURES, Architecture, tiny_classifier, tiny_rows, write_tiny_model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_narrowed_weights_give_the_bits_of_autocast_and_come_back(tmp_path: Path, architecture: Architecture) -> None:
    folder = write_tiny_model(tmp_path / "base", architecture)
    model, batch = tiny_classifier(folder), tiny_rows(folder, 6).batch(range(6))
    point = freeze(model, "feature_extraction", None, example=batch)
    before = tensors_sha256(dict(model.state_dict()))
    with autocast("bfloat16"):
        plain = capture(model, point, batch)
    with autocast("bfloat16"), narrowed(model, point.frozen_modules, "bfloat16"):
        assert torch.equal(capture(model, point, batch), plain)
    assert tensors_sha256(dict(model.state_dict())) == before


def test_in_float32_nothing_is_narrowed() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with narrowed(layer, ["0"], "float32"):
        assert layer[0].weight.dtype == torch.float32
    with narrowed(layer, ["0"], "bfloat16"):
        assert layer[0].weight.dtype == torch.bfloat16
    assert layer[0].weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("flags", "expected"),
    [({"avx512_bf16", "avx2"}, "bfloat16"), ({"amx_bf16"}, "bfloat16"), ({"avx2"}, "float32"), (set(), "float32")],
)
def test_auto_is_settled_by_the_processor_where_settings_are_read(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], expected: str
) -> None:
    monkeypatch.setattr(machine, "processor_flags", lambda: frozenset(flags))
    settings = parse_settings(settings_with("auto"), source="params.yaml")
    assert settings.adaptation.precision == expected
    assert settings.model_dump(mode="json")["adaptation"]["precision"] == expected


@pytest.mark.parametrize("able", [True, False])
def test_pytorch_is_asked_where_no_file_tells_of_the_processor(monkeypatch: pytest.MonkeyPatch, able: bool) -> None:
    monkeypatch.setattr(machine, "processor_flags", lambda: None)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able})
    read = parse_settings(settings_with("auto"), source="params.yaml").adaptation
    assert read.precision == ("bfloat16" if able else "float32")


def test_the_files_say_of_this_processor_what_pytorch_says() -> None:
    assert machine.has_bfloat16() in (None, fastest_precision("cpu") == "bfloat16")


def test_a_precision_of_another_name_is_refused() -> None:
    said = r"params.yaml: adaptation.precision: 'half': expected one of float32, bfloat16, auto"
    with pytest.raises(SettingsError, match=said):
        parse_settings(settings_with("half"), source="params.yaml")


def test_the_form_offers_auto() -> None:
    schema = Settings.model_json_schema()["$defs"]["AdaptationSettings"]["properties"]["precision"]
    assert schema["enum"] == ["float32", "bfloat16", "auto"]


def settings_with(precision: str) -> JsonValue:
    return {
        "data": {"path": "data/rows.csv"},
        "base_model": {"uri": "path:base"},
        "registry": {"model": "tiny"},
        "adaptation": {"precision": precision, "device": "cpu"},
    }
