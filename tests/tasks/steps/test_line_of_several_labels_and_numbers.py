"""The line from a table to a registered model for rows of several labels and for numbers: learned, scored, asked."""

import csv
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from fastapi.testclient import TestClient
from mlflow import MlflowClient
from mlflow.pyfunc import PyFuncModel, scoring_server
from pyarrow import parquet
from sklearn.metrics import f1_score, mean_absolute_error, r2_score

from benchmarks.scores.projects import git, write_data_pointer
from graftline.answers import tasks
from graftline.answers.predicting import predictor_of
from graftline.errors import SettingsError
from graftline.settings import Task, read_settings
from graftline.tasks.data.accepted_rows import split_targets
from graftline.tasks.serving.trial import Scored
from graftline.tasks.steps.baselines import baselines
from graftline.tasks.steps.champion import Champion
from graftline.tasks.steps.evaluate_model import evaluate_model
from graftline.tasks.steps.result import result_of
from graftline.tasks.tracking.server import connect
from graftline.verdict.policy import BASELINES
from tests.support.tiny_models import BAD, FILLERS, GOOD
from tests.support.tiny_project import (
    MODEL,
    Line,
    connected,
    empty_store,
    forget_servers,
    run_line,
    write_policy,
    write_tiny_base,
)

__all__ = ["empty_store"]

ROWS = 240
TASKS: tuple[Task, ...] = ("multi_label", "regression")
SETTINGS: dict[Task, dict[str, Any]] = {
    "multi_label": {"data": {"labels": ["bad", "good"]}, "floors": {"macro_f1": 0.75}, "epochs": 12},
    "regression": {"data": {"labels": []}, "floors": {"r2": 0.5}, "epochs": 24},
}
TEXTS = ["a good film with some great actor", "the plot was awful and very dull", "a fine but poor scene"]


def write_task_project(root: Path, task: Task) -> Path:
    """A project whose good and bad words are labels of their own, or decide about a number."""
    drawn = random.Random(0)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "text", "label", "source"])
    for number in range(ROWS):
        good, bad = number % 2, number // 2 % 2
        words = [*drawn.choices(FILLERS, k=6), *drawn.choices(GOOD, k=2 * good), *drawn.choices(BAD, k=2 * bad)]
        drawn.shuffle(words)
        labels = "|".join(name for name, there in (("good", good), ("bad", bad)) if there) or "|"
        target = labels if task == "multi_label" else f"{1000 + 10 * (good - bad) + drawn.random():.2f}"
        writer.writerow([f"r{number}", " ".join(words), target, f"s{number % 3}"])
    (root / "data").mkdir()
    (root / "data" / "rows.csv").write_text(text.getvalue(), encoding="utf-8")
    write_data_pointer(root)
    write_tiny_base(root)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["data"] |= {"task": task, **SETTINGS[task]["data"]}
    write_policy(root, floors=SETTINGS[task]["floors"], baselines=[])
    params["adaptation"]["epochs"] = SETTINGS[task]["epochs"]
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (root / ".gitignore").write_text("/artifacts/\n/reports/\n/mlflow/\n/data/\n/.dvc/\n")
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "a tiny project")
    return root


@pytest.fixture(scope="module", params=[pytest.param(task, marks=pytest.mark.full) for task in TASKS])
def line_once(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, empty_store: Path
) -> Iterator[Line]:
    with pytest.MonkeyPatch.context() as patch:
        root = write_task_project(tmp_path_factory.mktemp("adapted"), request.param)
        connected(root, empty_store, patch)
        yield run_line(root)


@pytest.fixture
def line(line_once: Line, monkeypatch: pytest.MonkeyPatch) -> Line:
    forget_servers(monkeypatch)
    connect(line_once.workspace)
    return line_once


def registered() -> PyFuncModel:
    loaded: PyFuncModel = mlflow.pyfunc.load_model(f"models:/{MODEL}/1")
    return loaded


def expected(line: Line) -> list[dict[str, Any]]:
    predictions = predictor_of(line.checkpoint.model).predict(TEXTS)
    if line.evaluation.task == "regression":
        return [{"value": value} for value in predictions[:, 0]]
    labels = line.data.labels
    return [
        {
            "labels": [label for label, probability in zip(labels, row, strict=True) if probability >= 0.5],
            "probabilities": dict(zip(labels, row, strict=True)),
        }
        for row in predictions
    ]


def kept_predictions(line: Line) -> Any:
    table = parquet.read_table(line.evaluation.folder.path / "predictions.parquet")
    names = [name for name in table.column_names if name.startswith(("probability.", "prediction"))]
    return np.stack([table[name].to_numpy() for name in names], axis=1)


def test_the_line_learns_scores_registers_and_answers(line: Line) -> None:
    task, evaluation = line.evaluation.task, line.evaluation
    assert (line.decision.verdict, line.candidate.version) == ("PROMOTE", 1)
    predictions, targets = kept_predictions(line), split_targets(line.data, "test").numpy()
    scores = {name: score["value"] for name, score in evaluation.scores.items()}
    if task == "multi_label":
        assert scores["macro_f1"] == pytest.approx(f1_score(targets, predictions >= 0.5, average="macro"))
        assert scores["micro_f1"] == pytest.approx(f1_score(targets, predictions >= 0.5, average="micro"))
    else:
        assert scores["r2"] == pytest.approx(r2_score(targets, predictions))
        assert scores["mean_absolute_error"] == pytest.approx(mean_absolute_error(targets, predictions))
        assert evaluation.baselines["majority"].scores["r2"].value <= 0
    # The registered version was asked in a process of its own, and answered with the same task and the same bits:
    # otherwise registration ends with an error.
    tags = MlflowClient().get_model_version(MODEL, "1").tags
    assert tags["graftline.predictions_sha256"] == evaluation.predictions_sha256
    _check_what_clients_get(line)
    _check_what_people_see(line)
    _check_what_dvc_plots(line)
    _check_the_baselines(line)


def _check_the_baselines(line: Line) -> None:
    found = baselines.fn(line.workspace, line.settings, BASELINES, line.data, line.base)
    targets, scores = split_targets(line.data, "test").numpy(), tasks.TASKS[line.evaluation.task].scores
    reached = {}
    for name, rival in found.rivals.items():
        metric = scores.metrics(rival.predictions(), targets)[scores.scoring.primary]
        reached[name] = float(metric(np.ones((1, len(targets))))[0])
    assert list(reached) == ["majority", "tfidf", "frozen_head", "scratch"]
    assert reached["tfidf"] > reached["majority"] + 0.3
    assert reached["frozen_head"] > reached["majority"]  # by little: the base model's weights are noise


def _check_what_clients_get(line: Line) -> None:
    answers: Any = registered().predict(TEXTS)
    assert answers.to_dict("records") == expected(line)
    served = TestClient(scoring_server.init(registered())).post("/invocations", json={"inputs": TEXTS})
    assert (served.status_code, served.json()) == (200, {"predictions": expected(line)})


def _check_what_people_see(line: Line) -> None:
    report, card = line.report.read_text(encoding="utf-8"), (line.workspace.reports / "model_card.md").read_text()
    name = {"multi_label": "macro-F1", "regression": "R²"}[line.evaluation.task]
    for part in (f"held-out {name}", "PROMOTE: tiny version 1", "Per source", *line.evaluation.held_out.pictures):
        assert part in report
    answers = {"multi_label": "any of the labels `bad`, `good` and a probability", "regression": "with a number."}
    assert answers[line.evaluation.task] in card
    assert ("Per label" in report) == (line.evaluation.task == "multi_label")
    result: Any = result_of(line.done, line.report, 1.0)
    assert name in result["summary"]
    epoch = MlflowClient().get_run(line.run.run_id).data.metrics
    assert f"validation/{ {'macro-F1': 'macro_f1', 'R²': 'r2'}[name] }" in epoch


def _check_what_dvc_plots(line: Line) -> None:
    rows, primary = {}, tasks.TASKS[line.evaluation.task].scores.scoring.primary
    for file, columns in (
        ("training.csv", {"number", "train_loss", "validation_loss", f"validation_{primary}"}),
        ("reliability.csv", {"confidence", "accuracy", "rows"}),
        ("confusion.csv", {"actual", "predicted"}),
    ):
        with (line.workspace.reports / file).open(encoding="utf-8", newline="") as opened:
            rows[file] = list(csv.DictReader(opened))
        assert set(rows[file][0]) == columns
    held_out = line.data.split_rows["test"]
    # Each label of each row is there or not; a number lies in one quarter.
    assert len(rows["confusion.csv"]) == held_out * (2 if line.evaluation.task == "multi_label" else 1)
    assert json.loads((line.workspace.reports / "metrics.json").read_text()).keys() == {
        *line.evaluation.scores, "verdict",
    }  # fmt: skip


def test_a_second_run_is_compared_with_the_champion_on_the_same_rows(line: Line, monkeypatch: Any) -> None:
    own = kept_predictions(line)
    labels = [] if line.evaluation.task == "regression" else list(line.data.labels)
    # A champion of other labels' order answers the same; one of another task cannot be compared.
    turned = own if not labels else own[:, ::-1]
    monkeypatch.setattr(
        "graftline.tasks.steps.champion.score_in_fresh_process",
        lambda *_, **__: Scored(line.evaluation.task, labels[::-1], turned),
    )
    same = evaluate_model.fn(
        line.workspace, line.settings, line.data, line.checkpoint, line.baselines, Champion(MODEL, 7)
    )
    assert same.comparison is not None
    assert {name: score.as_json() for name, score in same.comparison.scores.items()} == line.evaluation.scores
    assert {(score.value, score.low, score.high) for score in same.comparison.differences.values()} == {(0.0, 0.0, 0.0)}
    assert (same.comparison.gains.better, same.comparison.gains.worse) == (0, 0)
    monkeypatch.setattr(
        "graftline.tasks.steps.champion.score_in_fresh_process",
        lambda *_, **__: Scored("single_label", ["a"], own[:, :1]),
    )
    other = evaluate_model.fn(
        line.workspace, line.settings, line.data, line.checkpoint, line.baselines, Champion(MODEL, 8)
    )
    assert other.comparison is None
    assert "champion version 8 could not be scored: its task is single_label" in str(other.obstacle)


@pytest.mark.parametrize(
    ("task", "assignment", "message"),
    [
        ("regression", "adaptation.class_weights=balanced", r"about labels, which data\.task regression has not"),
        ("regression", "adaptation.class_weights=logit_adjusted", r"about labels, which .* regression has not"),
        ("multi_label", "evaluation.costs=['a > b: 2']", r"evaluation\.costs are about the one label of a row, which"),
        ("regression", "adaptation.label_smoothing=0.1", r"about labels, which data\.task regression has not"),
        ("regression", "adaptation.answers=thresholds", r"is about labels, which data\.task regression has not"),
        ("multi_label", "adaptation.answers=least_cost", r"about the one label of a row, which .* multi_label has not"),
        ("single_label", "adaptation.answers=least_cost", r"least_cost without evaluation\.costs: name there what a"),
        (
            "regression",
            "adaptation.strategy=contrastive",
            r"rows that share a label, which .* regression has not",
        ),
        ("single_label", "adaptation.augmentation=light", r"texts have no random views, images and sounds have"),
    ],
)
def test_settings_that_do_not_belong_to_the_data_are_refused(
    tmp_path: Path, task: Task, assignment: str, message: str
) -> None:
    params = {"data": {"path": "a.csv", "task": task}, "base_model": {"uri": "path:base"}, "registry": {"model": "m"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(SettingsError, match=message):
        read_settings(tmp_path / "params.yaml", [assignment])
