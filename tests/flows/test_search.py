"""A search on a tiny project: what a kill costs, which rows it reads, and what comes of it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL
from typer.testing import CliRunner

from graftline.errors import SettingsError, Stopped
from graftline.flows import search as flow_module
from graftline.flows.cli import app
from graftline.search.space import Space, space_of
from graftline.search.trials import Trial, is_given_up
from graftline.settings import Settings, read_settings
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data import accepted_rows
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.searching.outcome import Search, as_json, keep_search
from graftline.tasks.searching.page import write_page
from graftline.tasks.steps import run_trial as trial_module
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from tests.support.tiny_project import graftline, write_project

TRIALS = 6
SET = ["adaptation.epochs=2"]


@dataclass(frozen=True)
class Project:
    workspace: Workspace
    settings: Settings
    data: ValidatedData
    base: BaseModel
    space: Space

    def searched(self, count: int = TRIALS) -> list[Trial]:
        return flow_module._trials(self.workspace, self.settings, self.data, self.base, None, self.space, count, 0)

    def in_folder(self, root: Path) -> "Project":
        """The same without the trials."""
        shutil.copytree(self.workspace.root, root, symlinks=True, ignore=shutil.ignore_patterns("trial"))
        return replace(self, workspace=Workspace(root))


@pytest.fixture(scope="module", autouse=True)
def _plain_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow_module, "run_trial", trial_module.run_trial.fn)
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = write_project(tmp_path_factory.mktemp("searched") / "project")
    workspace, settings = Workspace(root), read_settings(root / "params.yaml", SET)
    data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
    base = fetch_model.fn(workspace, settings.base_model.uri)
    return Project(workspace, settings, data, base, space_of(settings.adaptation, ["fine_tuning"]))


@pytest.fixture(scope="module")
def undisturbed(project: Project) -> list[Trial]:
    return project.searched()


def come_to(trials: list[Trial]) -> list[Trial]:
    """Without the time that they took."""
    return [replace(trial, seconds=0.0) for trial in trials]


def test_trials_that_were_killed_and_taken_up_again_come_to_the_same(
    project: Project, undisturbed: list[Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = project.in_folder(tmp_path / "project")
    looks = 0

    def killed(*arguments: Any) -> bool:
        nonlocal looks
        looks += 1
        if looks in (1, 5, 8):  # in the middle of a trial, after an epoch of it was written down
            raise Stopped(15)
        return is_given_up(*arguments)

    monkeypatch.setattr(trial_module, "is_given_up", killed)
    for _ in range(3):
        with pytest.raises(Stopped):
            elsewhere.searched()
    assert come_to(elsewhere.searched()) == come_to(undisturbed)


def test_no_trial_is_repeated_and_more_of_them_begin_where_the_others_ended(
    project: Project, undisturbed: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_training(*_: Any, **__: Any) -> None:
        raise AssertionError("a training began")

    monkeypatch.setattr(trial_module, "adapt_base", no_training)
    assert project.searched() == undisturbed
    assert project.searched(3) == undisturbed[:3]
    with pytest.raises(AssertionError):
        project.searched(TRIALS + 1)


def test_no_held_out_row_is_read(
    project: Project, undisturbed: list[Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, read = project.in_folder(tmp_path / "project"), accepted_rows.batches_of_split
    sides = set[str]()

    def noting(data: ValidatedData, split: str, columns: Any) -> Iterator[dict[str, list[str]]]:
        sides.add(split)
        return read(data, split, columns)

    monkeypatch.setattr(accepted_rows, "batches_of_split", noting)
    assert come_to(elsewhere.searched(3)) == come_to(undisturbed[:3])
    assert sides == {"train", "validation"}


def test_the_outcome_names_the_best_trial_and_what_to_write(project: Project, undisturbed: list[Trial]) -> None:
    done = Search(project.settings, project.data, project.space, undisturbed)
    found = as_json(done)
    scores = [max(trial.scores.values()) for trial in undisturbed if trial.state == "finished"]
    assert found["value"] == max(scores)
    assert project.settings.adaptation.model_copy(update=dict(done.changed)) == done.found
    keep_search(project.workspace, done)
    assert json.loads((project.workspace.reports / "search.json").read_text()) == json.loads(json.dumps(found))
    page = write_page(project.workspace, done).read_text()
    assert f"best of {TRIALS} trials" in page or f"no trial of {TRIALS} did better" in page
    assert "no held-out row was read" in page


def test_settings_as_they_are_that_fit_no_model_end_the_search_and_later_ones_have_failed(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, calls = project.in_folder(tmp_path / "project"), list[int]()

    def no_room(*_: Any, **__: Any) -> None:
        calls.append(1)
        raise SettingsError("names no single block")

    monkeypatch.setattr(trial_module, "adapt_base", no_room)
    with pytest.raises(SettingsError, match="names no single block"):
        elsewhere.searched(2)
    monkeypatch.undo()
    monkeypatch.setattr(flow_module, "run_trial", trial_module.run_trial.fn)
    first = elsewhere.searched(1)
    monkeypatch.setattr(trial_module, "adapt_base", no_room)
    failed = elsewhere.searched(2)[1]
    assert (failed.state, failed.why) == ("failed", "names no single block")
    assert Search(project.settings, project.data, project.space, [*first, failed]).best == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--strategies", "lara"), "--strategies: 'lara' is none of"),
        (("--strategies", "feature_extraction"), "strategies: feature_extraction has a solved head"),
        (("--trials", "0"), "--trials"),
        (("--hours", "-1"), "--hours"),
    ],
)
def test_faulty_options_are_refused_in_a_sentence(
    project: Project, options: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.workspace.root)
    done = CliRunner().invoke(app, ["search", *options])
    assert done.exit_code == 2
    assert said in done.output


@pytest.mark.full
def test_a_search_ends_with_the_best_settings_judged_by_the_line(
    project: Project, tmp_path: Path, prefect_server: None
) -> None:
    elsewhere = project.in_folder(tmp_path / "project")
    arguments = ("search", "--trials", "3", "--strategies", "fine_tuning", "--json", "--set", *SET)
    done = graftline(elsewhere.workspace.root, *arguments, PREFECT_API_URL=str(PREFECT_API_URL.value()))
    assert done.returncode == 0, done.stderr
    judged = json.loads(done.stdout.splitlines()[-1])
    assert judged["verdict"] in ("PROMOTE", "HOLD", "REJECT")
    assert len(judged["search"]["trials"]) == 3
    best = judged["search"]["trials"][judged["search"]["best"] - 1]
    training = next((elsewhere.workspace.artifacts / "fine_tune").glob("[!.]*/training.json"))
    epochs = json.loads(training.read_text())["epochs"]
    assert [epoch["validation_accuracy"] for epoch in epochs] == best["scores"]
