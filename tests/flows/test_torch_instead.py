"""What `auto` had come to is left where it runs a model differently after all, and the run goes on with PyTorch."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from graftline.compute import openvino_runtime
from graftline.errors import RuntimeUnfitError
from graftline.flows.torch_instead import torch_instead
from graftline.settings import Settings, read_settings
from graftline.tasks.steps import choose_runtime
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.untouched_base import head_features
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from tests.support.tiny_project import write_project

Verb = Callable[[Workspace, Settings], torch.Tensor]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Verb:
    """One that runs the rows through the base model, which OpenVINO runs alike until it was chosen."""
    monkeypatch.setattr(choose_runtime, "PAYS", 0)

    @torch_instead()
    def of_rows(workspace: Workspace, settings: Settings) -> torch.Tensor:
        data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
        base = fetch_model.fn(workspace, settings.base_model.uri)
        settings = choose_runtime.with_chosen_runtime(workspace, settings, data, base)
        # No rounding is as small as that.
        monkeypatch.setattr(openvino_runtime, "TOLERANCE", {"float32": -1.0, "bfloat16": -1.0})
        return head_features(workspace, settings.adaptation, data, base, ["train"])["train"]

    return of_rows


@pytest.mark.full
def test_a_difference_that_a_run_meets_is_told_and_it_goes_on_as_if_torch_had_been_named(
    tmp_path: Path, verb: Verb, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = Workspace(write_project(tmp_path / "project"))
    params = workspace.root / "params.yaml"
    with caplog.at_level("INFO", "graftline.choose_runtime"):
        found = verb(workspace, read_settings(params, ["adaptation.runtime=auto"]))
    said = [record.getMessage() for record in caplog.records if record.name == "graftline.choose_runtime"]
    assert said[0].startswith("runtime: openvino, for it runs this base model as PyTorch does")
    assert said[1].startswith("runtime: torch from here on, for OpenVINO's answer differs from PyTorch's by")
    assert len(said) == 2
    stores = {path.name for path in workspace.features.iterdir()}
    assert torch.equal(found, verb(workspace, read_settings(params, ["adaptation.runtime=torch"])))
    assert {path.name for path in workspace.features.iterdir()} == stores  # it found what the first had kept
    with pytest.raises(RuntimeUnfitError, match=r"adaptation.runtime openvino: .*; use runtime torch"):
        verb(workspace, read_settings(params, ["adaptation.runtime=openvino"]))
