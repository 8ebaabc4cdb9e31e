"""One run key has one MLflow run, which says what was done, what came out, and how it ended."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from graftline.errors import DataRefusedError, ServerAwayError
from graftline.settings import Settings, read_settings
from graftline.tasks.registry.versions import RUN_KEY
from graftline.tasks.steps import tracked_run as step
from graftline.tasks.steps.tracked_run import PROVENANCE, RunInputs, reopened_run, tracked_run
from graftline.tasks.tracking.server import TrackedRun
from graftline.verdict.policy import Policy, read_policy
from tests.support.tiny_project import ROWS, Line


@contextmanager
def another_run(line: Line, seed: int, *assignments: str) -> Iterator[TrackedRun]:
    """The run of settings that no other test uses."""
    settings = read_settings(line.workspace.root / "params.yaml", [f"evaluation.seed={seed}", *assignments])
    with tracked_run(line.workspace, RunInputs(settings, Policy(), line.data, line.base)) as run:
        yield run


def logged(run_id: str) -> Run:
    return MlflowClient().get_run(run_id)


def provenance_of(run_id: str) -> dict[str, Any]:
    content = Path(MlflowClient().download_artifacts(run_id, PROVENANCE)).read_text(encoding="utf-8")
    result: dict[str, Any] = json.loads(content)
    return result


def test_the_finished_run_holds_settings_counts_scores_epochs_and_pages(adapted: Line) -> None:
    run = logged(adapted.run.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["adaptation.learning_rate"] == "0.005"
    assert run.data.params["policy.floors.accuracy"] == "0.75"
    metrics = run.data.metrics
    assert [run.data.params[f"rows.{name}"] for name in ("read", "accepted", "quarantined")] == [
        str(count) for count in (ROWS + 1, ROWS, 1)
    ]
    assert metrics["test/accuracy"] == adapted.evaluation.scores["accuracy"]["value"]
    assert {name.partition("/")[0] for name in metrics} == {"train", "validation", "test"}
    files = {file.path for file in MlflowClient().list_artifacts(adapted.run.run_id)}
    assert {"provenance.json", "validation.html", "report.html", "model_card.md", "predictions.parquet"} <= files


@pytest.mark.parametrize("name", ["train_loss", "validation_loss", "validation_accuracy"])
def test_every_epoch_is_in_mlflow_once_with_its_number(adapted: Line, name: str) -> None:
    history = MlflowClient().get_metric_history(adapted.run.run_id, name.replace("_", "/"))
    assert [(point.step, point.value) for point in history] == [
        (epoch["number"], epoch[name]) for epoch in adapted.checkpoint.epochs
    ]


def test_a_second_start_finds_the_finished_run_and_writes_nothing_to_it(adapted: Line) -> None:
    before = logged(adapted.run.run_id).to_dictionary()
    policy = read_policy(adapted.workspace.policy)
    with tracked_run(adapted.workspace, RunInputs(adapted.settings, policy, adapted.data, adapted.base)) as run:
        assert (run.run_id, run.finished) == (adapted.run.run_id, True)
    assert logged(adapted.run.run_id).to_dictionary() == before


def test_other_settings_have_another_run(adapted: Line) -> None:
    with another_run(adapted, 11) as run:
        assert run.run_id != adapted.run.run_id
        assert logged(run.run_id).info.status == "RUNNING"
    assert logged(run.run_id).info.status == "FINISHED"


def test_another_policy_has_another_run(adapted: Line) -> None:
    stricter = Policy(wanted_difference=0.01)
    with tracked_run(adapted.workspace, RunInputs(adapted.settings, stricter, adapted.data, adapted.base)) as run:
        assert run.run_id != adapted.run.run_id
    assert provenance_of(run.run_id)["policy_sha256"] == stricter.sha256


def test_a_run_that_fails_is_failed_and_is_gone_on_with(adapted: Line) -> None:
    with pytest.raises(DataRefusedError), another_run(adapted, 12) as failed:
        raise DataRefusedError("a test")
    assert logged(failed.run_id).info.status == "FAILED"
    with another_run(adapted, 12) as again:
        assert (again.run_id, again.finished) == (failed.run_id, False)
        assert logged(again.run_id).info.status == "RUNNING"
    assert logged(failed.run_id).info.status == "FINISHED"


def test_a_reopened_run_is_finished_only_by_the_end_of_its_writing(adapted: Line) -> None:
    with another_run(adapted, seed=96) as run:
        pass
    with reopened_run(replace(run, finished=True)) as again:
        assert (logged(run.run_id).info.status, again.finished) == ("RUNNING", False)
    assert logged(run.run_id).info.status == "FINISHED"


def test_a_run_killed_before_it_was_described_is_described_by_the_next_start(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(step, "provenance", kill)
        with pytest.raises(KeyboardInterrupt), another_run(adapted, 13):
            pass
    with another_run(adapted, 13) as run:
        described = provenance_of(run.run_id)
    assert described["settings"]["evaluation"]["seed"] == 13
    assert logged(run.run_id).data.params["evaluation.seed"] == "13"
    assert len(_runs_of(run)) == 1


def test_a_run_that_waited_too_shortly_is_gone_on_with_by_one_that_waits_longer(adapted: Line) -> None:
    """So the sentence advises that ends it."""
    with pytest.raises(ServerAwayError), another_run(adapted, 14, "registry.wait_for_servers=1") as away:
        raise ServerAwayError("a test")
    with another_run(adapted, 14, "registry.wait_for_servers=60") as again:
        assert again.run_id == away.run_id
    assert logged(again.run_id).info.status == "FINISHED"


def test_spellings_of_labels_may_hold_any_character(adapted: Line) -> None:
    with another_run(adapted, 15, "data.label_aliases={'C++ \u200b?=': good}") as run:
        assert logged(run.run_id).data.params["data.label_aliases"] == str(["C++ \u200b?= = good"])


def _runs_of(run: TrackedRun) -> list[Run]:
    experiment = logged(run.run_id).info.experiment_id
    return list(MlflowClient().search_runs([experiment], f"tags.`{RUN_KEY}` = '{run.run_key}'"))


def test_the_settings_that_were_resolved_can_be_read_back(adapted: Line) -> None:
    assert Settings.model_validate(provenance_of(adapted.run.run_id)["settings"]) == adapted.settings
