"""Compiled blocks learn what plain ones do, behind any freeze point, and a cut and a repetition change no bit of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from graftline.errors import SettingsError
from graftline.frozen.freezing import FreezePoint
from graftline.training import compiling
from graftline.training.compiling import compiled_blocks
from tests.graftline.compute.test_device import HAS_GPU
from tests.graftline.training.test_strategies import PowerCutError, Ran, ran
from tests.support.tiers import seldom
from tests.support.tiny_models import BLOCKS, tiny_classifier, write_tiny_model

# PyTorch's own way to trace and differentiate a model without a C++ compiler, which then runs it as it would have.
TRACED = "aot_eager"


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture(scope="module")
def undropped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model without dropout: compiled, it would draw other masks."""
    folder = tmp_path_factory.mktemp("models") / "base"
    return write_tiny_model(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def losses(done: Ran) -> list[float]:
    return [number for epoch in done.epochs for number in (epoch.train_loss, epoch.validation_loss)]


@pytest.mark.full
@pytest.mark.parametrize(
    "chosen",
    seldom(
        [
            {"strategy": "partial", "freeze_until": "2"},
            {"strategy": "fine_tuning", "gradient_checkpointing": True, "precision": "bfloat16"},
        ],
        {"strategy": "partial", "freeze_until": "2"},
    ),
    ids=lambda chosen: "-".join(map(str, chosen.values())),
)
def test_compiled_blocks_learn_what_plain_ones_do(
    undropped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any]
) -> None:
    monkeypatch.setattr(compiling, "BACKEND", TRACED)
    monkeypatch.setattr("graftline.models.classifier.HEAD_DROPOUT", 0.0)
    chosen = {"epochs": 2, "learning_rate": 1e-3, "train_rows": 32} | chosen
    plain, compiled = (ran(undropped, tmp_path / str(wanted), compile=wanted, **chosen) for wanted in (False, True))
    assert losses(compiled) == pytest.approx(losses(plain), abs=5e-3 if "precision" in chosen else 1e-4)
    assert compiled.adapted.frozen_sha256 == plain.adapted.frozen_sha256


@pytest.mark.full
@pytest.mark.parametrize(
    ("device", "backend"),
    [
        ("cpu", TRACED),
        # Minutes of compiling, so where it is for.
        pytest.param("cuda", compiling.BACKEND, marks=pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")),
    ],
)
def test_a_compiled_training_that_was_cut_off_ends_with_the_weights_of_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, backend: str
) -> None:
    """With dropout, whose masks the compiled code draws."""
    monkeypatch.setattr(compiling, "BACKEND", backend)
    base = write_tiny_model(tmp_path / "base")
    chosen: dict[str, Any] = {
        "strategy": "partial",
        "freeze_until": "1",
        "epochs": 2,
        "compile": True,
        "device": device,
        "train_rows": 64,
    }
    whole = ran(base, tmp_path / "whole", **chosen)
    with pytest.raises(PowerCutError):
        ran(base, tmp_path / "cut", cut_at=5, **chosen)
    resumed = ran(base, tmp_path / "cut", **chosen)
    assert whole.sha256 == resumed.sha256
    assert whole.epochs[-1].train_loss < whole.epochs[0].train_loss


@pytest.mark.full
def test_no_block_silently_runs_uncompiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model with more blocks than PyTorch's own limit, each is met by the compiler, or shares what it made."""
    graphs: list[torch.fx.GraphModule] = []

    def counting(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compiling, "BACKEND", counting)
    deep = write_tiny_model(tmp_path / "deep", num_hidden_layers=4 * BLOCKS)
    ran(deep, tmp_path / "run", strategy="fine_tuning", epochs=1, train_rows=16, compile=True)
    reasons = torch._dynamo.utils.counters["unimplemented"], torch._dynamo.utils.counters["graph_break"]
    assert graphs
    assert reasons == ({}, {})


def test_names_hooks_and_plain_running_come_back(undropped: Path) -> None:
    model = tiny_classifier(undropped)
    names = list(model.state_dict())
    with compiled_blocks(model, FreezePoint(None, (), frozenset(), (), tuple(names))):
        assert list(model.state_dict()) == names
        assert sum(module._compiled_call_impl is not None for module in model.modules()) == BLOCKS
    assert all(module._compiled_call_impl is None for module in model.modules())


def test_a_model_without_blocks_and_one_that_cannot_be_compiled_are_refused_in_words(
    undropped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(SettingsError, match="no list of equal blocks to compile"),
        compiled_blocks(nn.Linear(2, 2), FreezePoint(None, (), frozenset(), (), ())),
    ):
        pass

    def fails(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        raise RuntimeError("no compiler found")

    monkeypatch.setattr(compiling, "BACKEND", fails)
    with pytest.raises(
        SettingsError, match=r"adaptation\.compile: .*no compiler found.*set adaptation\.compile to false"
    ):
        ran(undropped, tmp_path / "run", strategy="fine_tuning", compile=True)
