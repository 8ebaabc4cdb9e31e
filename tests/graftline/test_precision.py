"""Precision: rounding the weights beforehand changes no bit, and leaves them as they were."""

from pathlib import Path

import pytest
import torch

from graftline.digests import tensors_sha256
from graftline.freezing import freeze
from graftline.precision import autocast, narrowed
from graftline.replay import capture
from tests.tiny_models import ARCHITECTURES, Architecture, tiny_classifier, tiny_rows, write_tiny_model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_narrowed_weights_give_the_bits_of_autocast_and_come_back(tmp_path: Path, architecture: Architecture) -> None:
    folder = write_tiny_model(tmp_path / "base", architecture)
    model, batch = tiny_classifier(folder), tiny_rows(folder, 6).batch(range(6))
    point = freeze(model, "feature_extraction", None, head="head", example=batch)
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
