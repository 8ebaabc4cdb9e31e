"""OpenVINO in front of the freeze point and in prediction: as PyTorch answers, or refused."""

import importlib.util
import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from graftline.answers.predicting import predictor_of
from graftline.compute import openvino_runtime
from graftline.compute.openvino_runtime import TOLERANCE
from graftline.compute.precision import Precision
from graftline.errors import SettingsError
from graftline.frozen.filling import fill, run_through
from graftline.frozen.freezing import freeze
from graftline.frozen.keys import row_keys
from graftline.frozen.store import FeatureStore
from graftline.models.folders import save_classifier
from tests.support.tiers import sampled
from tests.support.tiny_media import tiny_media_classifier, tiny_media_rows, write_tiny_media_model
from tests.support.tiny_models import (
    ARCHITECTURES,
    tiny_classifier,
    tiny_preprocessor,
    tiny_rows,
    tiny_texts,
    write_tiny_model,
)

pytestmark = pytest.mark.full

ROWS = 9
TEXT_AND_MEDIA = ["bert", "gpt2", "timm resnet", "whisper"]


def tiny(folder: Path, family: str):  # type: ignore[no-untyped-def]
    """A model, and rows for it."""
    if family in ARCHITECTURES:
        write_tiny_model(folder / "base", family)
        return tiny_classifier(folder / "base").eval(), tiny_rows(folder / "base", ROWS)
    write_tiny_media_model(folder / "base", family)  # type: ignore[arg-type]
    return (
        tiny_media_classifier(folder / "base", family).eval(),  # type: ignore[arg-type]
        tiny_media_rows(folder / "base", family, ROWS),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("family", sampled(TEXT_AND_MEDIA, "bert", "timm resnet"))
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("strategy", ["feature_extraction", "partial"])
def test_what_is_kept_lies_as_near_to_pytorchs_as_it_says(
    tmp_path: Path, family: str, precision: Precision, strategy: str
) -> None:
    model, rows = tiny(tmp_path, family)
    until = "1" if strategy == "partial" else None
    point = freeze(model, strategy, until, example=rows.batch([0, 1]))  # type: ignore[arg-type]
    keys = row_keys(rows)
    with FeatureStore(tmp_path / "a") as plain, FeatureStore(tmp_path / "b") as other:
        assert fill(plain, model, point, rows, keys) == len(set(keys))
        assert fill(other, model, point, rows, keys, precision=precision, runtime="openvino") == len(set(keys))
        expected, got = ([store.batch([key]) for key in keys] for store in (plain, other))
    scale = max(float(entry.abs().max()) for entry in expected)
    for one, two in zip(expected, got, strict=True):
        assert one.shape == two.shape
        assert float((one - two).abs().max()) <= TOLERANCE[precision] * scale


@pytest.mark.parametrize("family", sampled(TEXT_AND_MEDIA, "whisper"))
def test_an_entry_has_the_same_bits_whatever_rows_it_is_computed_with(tmp_path: Path, family: str) -> None:
    model, rows = tiny(tmp_path, family)
    point = freeze(model, "feature_extraction", None, example=rows.batch([0, 1]))
    together = run_through(model, point, rows, "float32", "openvino")
    for chosen in ([5], [8, 1, 7, 0], [2, 3, 4, 6]):
        part = replace(rows, encoded=[rows.encoded[row] for row in chosen], targets=rows.targets[chosen])
        assert torch.equal(run_through(model, point, part, "float32", "openvino"), together[chosen])


def test_a_model_that_openvino_runs_differently_is_refused(tmp_path: Path) -> None:
    model, rows = tiny(tmp_path, "wav2vec2")
    point = freeze(model, "feature_extraction", None, example=rows.batch([0, 1]))
    with (
        FeatureStore(tmp_path / "store") as store,
        pytest.raises(
            SettingsError,
            match=r"adaptation.runtime openvino: OpenVINO.* differs from PyTorch's by .* of the largest value,"
            r" expected at most 0\.0001 in float32; use runtime torch",
        ),
    ):
        fill(store, model, point, rows, row_keys(rows), runtime="openvino")


def test_a_model_that_openvino_cannot_run_is_refused(tmp_path: Path) -> None:
    # The window of its last average is larger than the picture there, which OpenVINO refuses, or answers with nothing.
    model, rows = tiny(tmp_path, "efficientnet")
    point = freeze(model, "feature_extraction", None, example=rows.batch([0, 1]))
    with pytest.raises(SettingsError, match=r"adaptation.runtime openvino: OpenVINO.*; use runtime torch"):
        run_through(model, point, rows, "float32", "openvino")


def test_a_model_that_openvino_cannot_convert_is_refused_with_its_reason(tmp_path: Path) -> None:
    class Asking(torch.nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            sizes: torch.Tensor = torch.linalg.eigvals(values).abs()  # an operation that OpenVINO does not have
            return sizes

    module, root = Asking(), logging.getLogger()
    before = root.level, [*root.filters], [*root.handlers]
    with pytest.raises(SettingsError, match=r"frozen: OpenVINO cannot run Asking \(.+\); use runtime torch"):
        openvino_runtime.compiled(
            lambda batch: module(batch["values"]),
            module,
            [{"values": torch.eye(2)}, {"values": torch.eye(3)}],
            what="frozen",
            precision="float32",
        )
    assert (root.level, root.filters, root.handlers) == before


def test_without_openvino_one_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = tiny(tmp_path, "bert")
    point = freeze(model, "feature_extraction", None, example=rows.batch([0, 1]))
    monkeypatch.setattr(openvino_runtime, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r'not installed; run pip install "graftline\[openvino\]", or use runtime'):
        run_through(model, point, rows, "float32", "openvino")


def test_nothing_is_reported_to_the_makers_of_openvino(tmp_path: Path) -> None:
    assert importlib.util.find_spec("openvino.tools.ovc.telemetry_stub") is not None
    model, rows = tiny(tmp_path, "bert")
    point = freeze(model, "feature_extraction", None, example=rows.batch([0, 1]))
    run_through(model, point, rows, "float32", "openvino")
    converter = sys.modules["openvino.tools.ovc.convert_impl"]
    assert converter.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
    assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_predictor_answers_nearly_alike(tmp_path: Path, precision: Precision) -> None:
    folder, texts = saved(tmp_path), tiny_texts(70)[0]  # in two batches
    expected = predictor_of(folder).predict(texts)
    got = predictor_of(folder, precision=precision, runtime="openvino").predict(texts)
    assert float(np.abs(got - expected).max()) <= TOLERANCE[precision]
    assert not np.array_equal(got, expected)


def saved(folder: Path) -> Path:
    base = write_tiny_model(folder / "base")
    save_classifier(tiny_classifier(base), tiny_preprocessor(base), folder / "model")
    return folder / "model"


def test_callers_at_once_get_each_their_own_answers(tmp_path: Path) -> None:
    predictor = predictor_of(saved(tmp_path), runtime="openvino")
    asked = [tiny_texts(20 + number, seed=number)[0] for number in range(8)]
    expected = [predictor.predict(texts) for texts in asked]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            for got, right in zip(threads.map(predictor.predict, asked), expected, strict=True):
                assert np.array_equal(got, right)


def test_a_batch_that_cannot_be_read_leaves_nothing_to_the_next_caller() -> None:
    module = torch.nn.Linear(2, 2)
    batches = [{"values": torch.rand(1, 2)} for _ in range(6)]
    network = openvino_runtime.compiled(
        lambda batch: module(batch["values"]), module, batches[:2], what="frozen", precision="float32"
    )

    def unreadable() -> Iterator[dict[str, torch.Tensor]]:
        yield from batches[:4]
        raise ValueError("cut off")

    with pytest.raises(ValueError, match="cut off"):
        network(unreadable())
    (answer,) = network(batches[5:])
    assert torch.allclose(answer, module(batches[5]["values"]), atol=1e-5)
