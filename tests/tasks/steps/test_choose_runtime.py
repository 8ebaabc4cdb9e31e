"""Where the settings leave the runtime open: what pays is taken where it answers as PyTorch does, else PyTorch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.bert.modeling_bert import BertEmbeddings

from graftline.compute import openvino_runtime
from graftline.errors import SettingsError
from graftline.models.folders import load_preprocessor
from graftline.models.preprocessing import Reading
from graftline.settings import Settings, read_settings
from graftline.settings.by_value import by_value
from graftline.settings.compute import COMPUTE
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData, read_split
from graftline.tasks.serving.answering_process import EXAMPLES
from graftline.tasks.steps import choose_runtime as module
from graftline.tasks.steps.choose_runtime import with_chosen_runtime
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from tests.support.tiny_models import BLOCKS
from tests.support.tiny_project import write_project

# A row of a tiny project has eight words.
TOKENS = 10
Line = tuple[Workspace, Settings, ValidatedData, BaseModel]


def line(folder: Path, *changed: str) -> Line:
    """A project whose rows are validated, and its base model."""
    root = write_project(folder / "project")
    workspace = Workspace(root)
    settings = read_settings(root / "params.yaml", ["adaptation.runtime=auto", *changed])
    data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
    return workspace, settings, data, fetch_model.fn(workspace, settings.base_model.uri)


def test_few_rows_stay_with_pytorch_and_the_run_is_as_if_that_had_been_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Which costs nothing: nobody looks for OpenVINO, and no step is made."""
    workspace, settings, data, base = line(tmp_path)
    monkeypatch.setattr(module, "find_spec", None)
    with caplog.at_level("INFO", "graftline.choose_runtime"):
        chosen = with_chosen_runtime(workspace, settings, data, base)
    named = read_settings(workspace.root / "params.yaml", [])
    assert by_value(chosen.adaptation, "adaptation") == by_value(named.adaptation, "adaptation")
    assert "too few for a conversion to pay" in caplog.text
    assert not (workspace.artifacts / module.STEP).exists()


def test_a_cluster_and_a_machine_without_openvino_stay_with_pytorch_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PAYS", 0)
    workspace, settings, data, base = line(tmp_path)
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with caplog.at_level("INFO", "graftline"):
        assert with_chosen_runtime(workspace, settings, data, base).adaptation.runtime == "torch"
        (workspace.root / COMPUTE).write_text("engine: ray\n")
        assert with_chosen_runtime(workspace, settings, data, base).adaptation.runtime == "torch"
    assert [record.getMessage() for record in caplog.records[-2:]] == [
        'runtime: torch, for want of OpenVINO, which pip install "graftline[openvino]" brings',
        "runtime: torch, for a cluster runs the frozen part",
    ]


@pytest.mark.full
def test_openvino_is_compared_once_and_taken_where_it_answers_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAYS", 0)
    # More blocks than the model is known to have, and the freeze point at one that is none without the pattern.
    named = (
        "adaptation.block_pattern=encoder[.]layer[.][0-9]+[.]attention|encoder[.]layer[.][0-9]+[.]intermediate",
        "adaptation.strategy=partial",
        f"adaptation.freeze_until={BLOCKS + 1}",
    )
    there = line(tmp_path, *named)
    chosen = with_chosen_runtime(*there)
    assert chosen.adaptation.runtime == "openvino"

    def again(*_: object, **__: object) -> None:
        raise AssertionError("it was compared already")

    monkeypatch.setattr(openvino_runtime, "compiled", again)
    assert with_chosen_runtime(*there) == chosen


@pytest.mark.full
def test_a_base_model_that_openvino_runs_differently_stays_with_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PAYS", 0)
    # No rounding is as small as that.
    monkeypatch.setattr(openvino_runtime, "TOLERANCE", {"float32": -1.0, "bfloat16": -1.0})
    with caplog.at_level("INFO", "graftline.choose_runtime"):
        chosen = with_chosen_runtime(*line(tmp_path))
    assert chosen.adaptation.runtime == "torch"
    assert "OpenVINO's answer differs from PyTorch's by" in caplog.text


@pytest.mark.full
def test_a_base_model_that_openvino_runs_differently_for_the_own_rows_stays_with_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one does that asks for the length of its input: a trace has the answer that the traced row gave."""
    monkeypatch.setattr(module, "PAYS", 0)
    plain = BertEmbeddings.forward

    def other_for_ten_tokens(self: BertEmbeddings, *given: Any, **named: Any) -> torch.Tensor:
        answer: torch.Tensor = plain(self, *given, **named)
        return answer * 3 if answer.shape[1] == TOKENS else answer

    monkeypatch.setattr(BertEmbeddings, "forward", other_for_ten_tokens)
    there = line(tmp_path)
    read = load_preprocessor(there[-1].path, Reading("text", max_tokens=32)).encode([*EXAMPLES, "a good film " * 2])
    assert TOKENS not in [len(row["input_ids"]) for row in read]  # no example is as long as the project's rows
    with caplog.at_level("INFO", "graftline.choose_runtime"):
        chosen = with_chosen_runtime(*there)
    assert chosen.adaptation.runtime == "torch"
    assert "runtime: torch, for OpenVINO's answer differs from PyTorch's by" in caplog.text


def test_the_longest_and_the_shortest_row_are_those_of_both_sides_by_their_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, data, base = line(tmp_path)
    texts = [text for side in ("train", "validation") for text in read_split(data, side, ["input"])["input"]]
    monkeypatch.setattr(module, "READ_AS_TOKENS", 3)
    found = list(module._longest_and_shortest(data))
    assert [len(text) for text in found[:3]] == sorted(map(len, texts))[:-4:-1]
    assert [len(text) for text in found[3:]] == sorted(map(len, texts))[:3]
    longer = "a film and a plot and an actor"
    monkeypatch.setattr(module, "_longest_and_shortest", lambda _: ["film", longer, "unsegmentable" * 10])
    preprocessor = load_preprocessor(base.path, Reading("text", max_tokens=32))
    compared = module._compared(preprocessor, data)
    assert torch.equal(compared[0]["input_ids"], preprocessor.collate(preprocessor.encode([longer]))["input_ids"])
    assert compared[1]["input_ids"].shape == (1, 3)


def test_a_runtime_that_is_none_is_refused(tmp_path: Path) -> None:
    root = write_project(tmp_path / "project")
    with pytest.raises(SettingsError, match=r"adaptation\.runtime"):
        read_settings(root / "params.yaml", ["adaptation.runtime=onnx"])
