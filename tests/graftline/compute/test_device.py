"""Devices: everything goes to where the model is, on PyTorch's "meta" where no GPU is at hand, and on one where it is.

Tensors on "meta" have no values, but are as strictly apart from the processor's as those of a GPU.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import JsonValue
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from graftline.answers.predicting import predictor_of
from graftline.compute.device import NOT_DETERMINISTIC, batch_on, can_be_pinned, gpu_faults_told
from graftline.compute.machine import may_have_gpu
from graftline.compute.precision import Precision
from graftline.digests import tensors_sha256
from graftline.errors import GraftlineError, SettingsError
from graftline.frozen.filling import fill
from graftline.frozen.freezing import FreezePoint, train_mode
from graftline.frozen.keys import row_keys
from graftline.frozen.proof import plan_for
from graftline.frozen.replay import capture, replaying
from graftline.frozen.rows import FeatureRows, ReplayedRows
from graftline.frozen.store import FeatureStore
from graftline.models.folders import save_classifier
from graftline.models.pooling import Pooling, pool
from graftline.models.predictor import Device
from graftline.settings import parse_settings
from graftline.settings.adaptation import AdaptationSettings, Strategy
from graftline.training.single_label import OneLabel, objective_for
from graftline.training.strategies import Adaptation
from tests.graftline.frozen.test_replay_families import TRAINED, Tiny, tiny
from tests.support.tiny_models import tiny_classifier, tiny_preprocessor, tiny_rows, tiny_texts, write_tiny_model

HAS_GPU = torch.cuda.is_available()
ELSEWHERE = torch.device("meta")


class NoValues(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, who asks a tensor on "meta" whether something holds is told that it does not."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].device == ELSEWHERE:
            return False
        return func(*args, **(kwargs or {}))


def no_values() -> TorchDispatchMode:
    return NoValues()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("family", TRAINED)
def test_rows_and_what_is_kept_of_them_go_to_where_the_model_is(tmp_path: Path, family: str) -> None:
    case, places = tiny(tmp_path, family), [0, 1, 2, 3]
    rows, here = case.rows(4, 0), case.model
    for cut in (case.cuts()[0], case.cuts()[-1]):
        model = copy.deepcopy(here)
        point = Tiny(model, case.rows).freeze(cut)
        plan = plan_for(model, point, rows)
        with FeatureStore(tmp_path / f"store-{cut[1]}") as store:
            fill(store, model, point, rows, row_keys(rows))
            train_mode(model.to(ELSEWHERE), point)
            with no_values(), replaying(model, point, plan) as give:
                replayed = ReplayedRows(rows, store, row_keys(rows), give)
                loss = OneLabel().loss(replayed.logits(model, places), rows.targets.to(ELSEWHERE))
                loss.backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
        assert {gradient.device for gradient in gradients if gradient is not None} == {ELSEWHERE}, cut
        with no_values():
            assert capture(model, point, rows.batch(places)).device == ELSEWHERE
    # Pinned memory is to be had with a GPU only; there, pinning a tensor that shares memory is an error.
    batch, blank = rows.batch(places), rows.blank(places) or {}
    assert all(map(can_be_pinned, batch.values()))
    for tensor in (*blank.values(), torch.zeros(()).expand(2, 3)):
        has_memory = tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()
        assert can_be_pinned(tensor) == has_memory


def test_vectors_go_to_where_the_head_is(tmp_path: Path) -> None:
    model = tiny_classifier(write_tiny_model(tmp_path / "base")).to(ELSEWHERE)
    rows = FeatureRows(torch.zeros(3, model.output_layer.in_features), torch.zeros(3, dtype=torch.int64))
    assert rows.logits(model, [0, 2]).device == ELSEWHERE


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_tokens_are_pooled_where_they_are(pooling: Pooling) -> None:
    if pooling == "own":
        return
    hidden, mask = torch.zeros(2, 3, 4, device=ELSEWHERE), torch.ones(2, 3, dtype=torch.int64, device=ELSEWHERE)
    with no_values():
        assert pool(hidden, mask, pooling).device == ELSEWHERE


def test_a_batch_on_the_processor_is_not_copied() -> None:
    batch = {"input_ids": torch.arange(3)}
    assert batch_on(batch, torch.device("cpu"))["input_ids"].data_ptr() == batch["input_ids"].data_ptr()


@pytest.mark.parametrize(
    ("there", "bfloat16", "expected"),
    [(True, True, ("cuda", "bfloat16")), (True, False, ("cuda", "float32")), (False, True, ("cpu", None))],
)
def test_auto_is_settled_by_the_machine_where_settings_are_read(
    monkeypatch: pytest.MonkeyPatch, there: bool, bfloat16: bool, expected: tuple[str, str | None]
) -> None:
    monkeypatch.setattr("graftline.settings.of_machine.may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16 or including_emulation)
    read = parse_settings(settings_with(precision="auto"), source="params.yaml").adaptation
    assert read.device == expected[0]
    assert expected[1] in (None, read.precision)
    assert read.model_dump(mode="json")["device"] == expected[0]
    assert AdaptationSettings().device == expected[0]


def test_where_there_are_no_files_of_a_gpu_pytorch_finds_none() -> None:
    assert may_have_gpu() or not torch.cuda.is_available()


def test_openvino_keeps_auto_on_the_processor_and_refuses_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert AdaptationSettings(runtime="openvino").device == "cpu"
    said = "adaptation: .*runtime openvino with device cuda: it runs on processors only; set device to cpu"
    with pytest.raises(SettingsError, match=said):
        parse_settings(settings_with(runtime="openvino", device="cuda"), source="params.yaml")


@pytest.mark.skipif(HAS_GPU, reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused_before_anything_runs(tmp_path: Path) -> None:
    said = "adaptation.device cuda: PyTorch .* finds no GPU that it can use; set it to auto or cpu, or install a driver"
    with pytest.raises(SettingsError, match=said):
        adapt(tmp_path, AdaptationSettings(device="cuda"))
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.skipif(HAS_GPU, reason="needs a machine without a GPU")
def test_a_predictor_refuses_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    save_classifier(tiny_classifier(base), tiny_preprocessor(base), tmp_path / "model")
    with pytest.raises(ValueError, match="device cuda with runtime torch: expected runtime torch and a GPU that"):
        predictor_of(tmp_path / "model", device="cuda")


def test_a_full_gpu_says_what_to_do() -> None:
    said = r"the GPU's memory is full \(CUDA out of memory. Tried to allocate 2 GiB\); lower adaptation.batch_size"
    with pytest.raises(GraftlineError, match=said), gpu_faults_told():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand so on")


def test_an_operation_whose_sums_have_no_fixed_order_is_refused_and_other_errors_stay() -> None:
    said = r"cannot be trained on a GPU so that a repetition gives the same weights \(pooling does not.*device to cpu"
    with pytest.raises(GraftlineError, match=said), gpu_faults_told():
        raise RuntimeError(f"pooling {NOT_DETERMINISTIC}, but you set\nand so on")
    with pytest.raises(RuntimeError, match="shapes"), gpu_faults_told():
        raise RuntimeError("shapes cannot be multiplied")


@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
@pytest.mark.parametrize("precision", get_args(Precision))
@pytest.mark.parametrize(
    ("strategy", "until"),
    [
        ("feature_extraction", None),
        ("fine_tuning", None),
        ("partial", "1"),
        ("probe_then_fine_tune", "1"),
        ("gradual_unfreezing", None),
        ("lora", None),
    ],
)
def test_a_gpu_adapts_the_same_each_time_and_freezes_what_the_processor_freezes(
    tmp_path: Path, strategy: Strategy, until: str | None, precision: Precision
) -> None:
    settings = AdaptationSettings(
        strategy=strategy, freeze_until=until, batch_size=4, learning_rate=1e-3, average="greedy", precision=precision
    )
    on_gpu = [adapt(tmp_path / name, settings.model_copy(update={"device": "cuda"})) for name in ("one", "two")]
    assert tensors_sha256(on_gpu[0]) == tensors_sha256(on_gpu[1])
    # Dropout draws other masks there, so only what does not learn is equal to the bit.
    on_processor = adapt(tmp_path / "processor", settings.model_copy(update={"device": "cpu"}))
    assert on_gpu[0].keys() == on_processor.keys()
    if until:
        frozen = [name for name in on_processor if ".layer.0." in name]
        assert frozen
        assert all(torch.equal(on_gpu[0][name].cpu(), on_processor[name]) for name in frozen)


@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
@pytest.mark.parametrize("family", TRAINED)
def test_replayed_logits_on_a_gpu_are_those_of_the_plain_pass(tmp_path: Path, family: str) -> None:
    case = Tiny(tiny(tmp_path, family).model.to("cuda"), tiny(tmp_path / "rows", family).rows)
    rows = case.rows(4, 0)
    batch, blank = rows.batch(range(4)), rows.blank(range(4))
    for cut in case.cuts():
        point = case.freeze(cut)
        with torch.no_grad():
            plain = case.model.eval()(**batch)
            with replaying(case.model, point, plan_for(case.model, point, rows)) as give:
                give(capture(case.model, point, batch))
                assert torch.equal(case.model(**(blank or batch)), plain), cut


@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
def test_a_predictor_on_a_gpu_answers_as_on_the_processor(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    save_classifier(tiny_classifier(base), tiny_preprocessor(base), tmp_path / "model")
    answers = [predictor_of(tmp_path / "model", device=device).predict(tiny_texts(6)[0]) for device in get_args(Device)]
    assert answers[0] == pytest.approx(answers[1], abs=1e-5)


def adapt(folder: Path, settings: AdaptationSettings) -> dict[str, Tensor]:
    """Adapt a tiny model. Returns: its weights."""
    base = write_tiny_model(folder / "base")
    model, rows = tiny_classifier(base), {"train": tiny_rows(base, 12), "validation": tiny_rows(base, 6, seed=1)}

    @contextmanager
    def store(point: FreezePoint) -> Iterator[FeatureStore]:
        with FeatureStore(folder / f"store-{point.first_trainable}") as opened:
            yield opened

    Adaptation(model, rows, settings, objective_for, store, folder / "checkpoints").run()
    return dict(model.state_dict())


def settings_with(**adaptation: JsonValue) -> JsonValue:
    return {
        "data": {"path": "data/rows.csv"},
        "base_model": {"uri": "path:base"},
        "registry": {"model": "tiny"},
        "adaptation": adaptation,
    }
