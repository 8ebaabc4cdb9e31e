"""Where the settings leave the strategy open: it is chosen once, recorded, and then as if it had been named."""

from dataclasses import replace
from pathlib import Path

import pytest

from graftline.settings import Settings, read_settings
from graftline.settings.by_value import by_value
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.steps import choose_strategy as module
from graftline.tasks.steps.choose_strategy import StrategyChoice, choose_strategy, with_chosen_strategy
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.pretraining import pretrained_base
from graftline.tasks.steps.report_tables import choice_of
from graftline.tasks.steps.tracked_run import RunInputs
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import read_policy
from tests.support.tiny_project import write_project


def test_where_the_pre_training_goes_on_the_strategy_is_chosen_for_what_comes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began_with: list[BaseModel] = []

    def noted(_workspace: Workspace, _settings: Settings, _data: ValidatedData, start: BaseModel) -> StrategyChoice:
        began_with.append(start)
        return StrategyChoice("lora", "as a test wants it", (), "ran")

    monkeypatch.setattr(module, "choose_strategy", noted)
    root = write_project(tmp_path / "project")
    workspace = Workspace(root)
    settings = read_settings(root / "params.yaml", ["adaptation.strategy=auto", "adaptation.pretraining_epochs=1"])
    data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
    base = fetch_model.fn(workspace, settings.base_model.uri)
    chosen, _ = with_chosen_strategy(workspace, settings, data, base)
    made = pretrained_base(workspace, chosen.adaptation, data, base)
    assert made is not None
    assert (made.folder.outcome, began_with) == ("reused", [replace(made.model, outcome="ran")])


def test_a_strategy_is_chosen_once_and_the_run_is_then_as_if_it_had_been_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "choose_strategy", choose_strategy.fn)
    root = write_project(tmp_path / "project")
    workspace = Workspace(root)
    few_steps = ["adaptation.epochs=1", "adaptation.batch_size=64"]
    left_open = ["adaptation.strategy=auto", "adaptation.auto_passes=4", *few_steps]
    settings = read_settings(root / "params.yaml", left_open)
    data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
    base = fetch_model.fn(workspace, settings.base_model.uri)
    chosen, choice = with_chosen_strategy(workspace, settings, data, base)
    again, same = with_chosen_strategy(workspace, settings, data, base)
    assert choice is not None
    assert same is not None
    assert (choice.outcome, same.outcome) == ("ran", "reused")
    assert (chosen, same) == (again, replace(choice, outcome="reused"))
    best = max(choice.trials, key=lambda trial: (trial[1], -trial[2]))
    assert chosen.adaptation.strategy == choice.strategy == best[0]
    assert choice.reason.startswith(f"auto: {best[0]} had the best accuracy in a cross-validation of 2 folds")
    named = read_settings(root / "params.yaml", [f"adaptation.strategy={choice.strategy}", *few_steps])
    assert by_value(named.adaptation, "adaptation") == by_value(chosen.adaptation, "adaptation")
    assert with_chosen_strategy(workspace, named, data, base) == (named, None)
    inputs = RunInputs(chosen, read_policy(workspace.policy), data, base, choice=choice)
    assert inputs.key == RunInputs(named, read_policy(workspace.policy), data, base).key
    (table,) = choice_of(inputs)
    assert table.lead == choice.reason
    assert len(table.rows) == len(choice.trials) == 3
