"""Folding changes what a frozen part computes by rounding only, leaves no trace, and is not done where it cannot be."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from graftline.compute.folding import folded
from graftline.compute.precision import autocast, narrowed
from graftline.digests import tensors_sha256
from graftline.frozen.freezing import freeze
from graftline.frozen.replay import capture
from tests.support.tiny_media import MediaArchitecture, tiny_media_classifier, tiny_media_rows, write_tiny_media_model


def spread(model: nn.Module) -> None:
    """Statistics and factors as training leaves them: tiny models have zeros and ones, which hide what is wrong."""
    torch.manual_seed(0)
    for norm in normalisations(model):
        for tensor in (norm.running_var, norm.weight, norm.running_mean, norm.bias):
            assert tensor is not None
            tensor.data.uniform_(0.5, 1.5)


def normalisations(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def is_folded(norm: nn.Module) -> bool:
    return "forward" in norm.__dict__


@pytest.mark.parametrize("architecture", ["resnet", "timm resnet", "timm efficientnet"])
def test_a_folded_frozen_part_gives_the_same_but_for_rounding_and_comes_back(
    tmp_path: Path, architecture: MediaArchitecture
) -> None:
    base = write_tiny_media_model(tmp_path / "base", architecture)
    model = tiny_media_classifier(base, architecture)
    spread(model)
    batch = tiny_media_rows(base, architecture, 4).batch(range(4))
    point = freeze(model, "feature_extraction", None, example=batch)
    before, plain = tensors_sha256(dict(model.state_dict())), capture(model, point, batch)
    with folded(model, point.frozen_modules, "bfloat16", lambda: capture(model, point, batch)):
        assert all(map(is_folded, normalisations(model)))
        torch.testing.assert_close(capture(model, point, batch), plain, rtol=0, atol=1e-5 * float(plain.abs().max()))
        with autocast("bfloat16"), narrowed(model, point.frozen_modules, "bfloat16"):
            rounded = capture(model, point, batch).float()
    torch.testing.assert_close(rounded, plain, rtol=0, atol=10 / 256 * float(plain.abs().max()))
    assert not any(map(is_folded, normalisations(model)))
    assert tensors_sha256(dict(model.state_dict())) == before
    assert torch.equal(capture(model, point, batch), plain)


def test_in_float32_nothing_is_folded() -> None:
    model = Plain()
    with folded(model, set(dict(model.named_modules())), "float32", lambda: model(torch.ones(1, 2, 4, 4))):
        assert not is_folded(model.norm)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)
        self.eval()
        spread(self)

    def forward(self, entering: Tensor) -> Tensor:
        passed: Tensor = self.norm(self.layer(entering))
        return passed


class Skipping(Plain):
    """The convolution's output is used in front of the normalisation, too."""

    def forward(self, entering: Tensor) -> Tensor:
        made = self.layer(entering)
        passed: Tensor = self.norm(made) + made
        return passed


class Twice(Plain):
    """The normalisation is used a second time, behind no convolution."""

    def forward(self, entering: Tensor) -> Tensor:
        passed: Tensor = self.norm(self.norm(self.layer(entering)))
        return passed


@pytest.mark.parametrize(("kind", "expected"), [(Plain, True), (Skipping, False), (Twice, False)])
def test_only_what_nothing_else_reads_is_folded(kind: type[Plain], expected: bool) -> None:
    model, entering = kind(), torch.randn(2, 2, 4, 4)
    with torch.no_grad():
        plain = model(entering)
        with folded(model, set(dict(model.named_modules())), "bfloat16", lambda: model(entering)):
            assert is_folded(model.norm) is expected
            torch.testing.assert_close(model(entering), plain)
        assert torch.equal(model(entering), plain)
