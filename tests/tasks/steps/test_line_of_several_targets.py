"""The line from a table to a registered model of three targets: learned, scored, judged and asked, each where it is."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from graftline.answers.predicting import predictor_of
from graftline.tasks.data.accepted_rows import split_targets
from graftline.tasks.registry.history import read_history
from graftline.tasks.serving.answering import ADAPTED, open_registered
from graftline.tasks.serving.predicting import Trained, predict_table
from graftline.tasks.steps.champion import Champion
from graftline.tasks.steps.decide import judge
from graftline.tasks.steps.evaluate_model import evaluate_model
from graftline.tasks.steps.result import result_of
from graftline.tasks.tracking.server import connect
from graftline.verdict.policy import Policy
from tests.support.several_targets import write_several_targets
from tests.support.tiny_project import MODEL, Line, connected, empty_store, files_of, forget_servers, run_line

__all__ = ["empty_store"]

pytestmark = pytest.mark.full
TEXTS = ["a good film with some great actor", "the plot was awful and very dull", "a fine but poor scene"]
# Few rows show no model to be better than nothing, nor as good as one of its own.
LENIENT = {"baselines": [], "effects": {"baseline": "advise", "interference": "advise"}}


@pytest.fixture(scope="module")
def line_once(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Line]:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("adapted") / "project"
        write_several_targets(root, policy=LENIENT, epochs=6, task_balance="uncertainty")
        connected(root, empty_store, patch)
        yield run_line(root, ["evaluation.changed_rows=30"])


@pytest.fixture
def line(line_once: Line, monkeypatch: pytest.MonkeyPatch) -> Line:
    forget_servers(monkeypatch)
    connect(line_once.workspace)
    return line_once


def test_one_version_answers_every_target_as_it_was_evaluated(line: Line) -> None:
    # It was asked in a process of its own for all targets: otherwise registration ends with an error.
    assert (line.decision.verdict, line.candidate.version) == ("PROMOTE", 1)
    predictor = predictor_of(line.checkpoint.model)
    expected = predictor.columns(predictor.predict(TEXTS))
    answers: Any = mlflow.pyfunc.load_model(f"models:/{MODEL}/1").predict(TEXTS)
    assert list(answers.columns) == list(expected)
    assert answers.to_dict("list") == expected
    assert list(expected) == ["label", "probabilities", "rating.value", "words.labels", "words.probabilities"]


def test_each_target_is_scored_on_its_rows_beside_a_model_of_its_own(line: Line) -> None:
    seen = line.evaluation.each
    assert [one.task for one in seen.values()] == ["single_label", "regression", "multi_label"]
    rows = [line.data, *line.data.targets.values()]
    assert [one.held_out.rows for one in seen.values()] == [len(split_targets(own, "test")) for own in rows]
    for one in seen.values():
        assert {"majority", "single_task"} <= set(one.baselines)
    assert seen[None].scores["accuracy"]["value"] > 0.75
    alone = line.baselines.further["rating"].rivals["single_task"]
    assert alone.predictions().shape == (seen["rating"].held_out.rows, 1)
    temperatures = [one.held_out.calibration.temperature for one in seen.values()]
    assert temperatures[1] == 1.0  # numbers have none
    assert temperatures[0] != temperatures[2]


def test_people_see_all_targets_in_one_table(line: Line) -> None:
    report, card = line.report.read_text(encoding="utf-8"), (line.workspace.reports / "model_card.md").read_text()
    for page in (report, card):
        for part in ("Targets", "rating (regression)", "words (multi label)", "rating: baselines", "words: label by"):
            assert part in page
    assert "rating: Predicted against actual" in report
    result: Any = result_of(line.done, line.report, 1.0)
    assert set(result["targets"]) == {"rating", "words"}
    assert "target rating" in result["summary"]
    metrics = MlflowClient().get_run(line.run.run_id).data.metrics
    assert {"test/accuracy", "test/rating/r2", "test/words/macro_f1", "validation/mean_of_targets"} <= set(metrics)


def test_predict_writes_the_answers_of_all_targets(line: Line, tmp_path: Path) -> None:
    folder = files_of(MODEL, 1)
    model = open_registered("tiny version 1", folder, line.checkpoint.weights_sha256)
    assert (folder / ADAPTED).is_dir()
    (tmp_path / "in.csv").write_text("text\n" + "\n".join([*TEXTS, '""']) + "\n", encoding="utf-8")
    done = predict_table(model, Trained("text", "|"), tmp_path / "in.csv", tmp_path / "out.csv", data=tmp_path)
    assert (done.answered, done.refused) == (3, 1)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "text", "answer", "probability.bad", "probability.good", "rating.answer", "words.answer",
        "words.probability.bad", "words.probability.good", "error",
    ]  # fmt: skip
    predictor = predictor_of(line.checkpoint.model).of_target("rating")
    assert float(rows[0]["rating.answer"]) == pytest.approx(float(predictor.predict(TEXTS)[0, 0]))
    assert (rows[3]["rating.answer"], rows[3]["error"]) == ("", "text is empty")


def test_a_champion_is_asked_for_all_targets_and_its_equal_ties_in_each(line: Line) -> None:
    parts = (line.workspace, line.settings, line.data, line.checkpoint, line.baselines)
    beside = evaluate_model.fn(*parts, Champion(MODEL, 1))
    for one in beside.each.values():
        assert one.comparison is not None
        assert (one.comparison.gains.better, one.comparison.gains.worse) == (0, 0)
    verdict = judge(Policy.model_validate(LENIENT), beside, barred=None, unfair=None, trial=None)
    assert verdict.verdict == "HOLD"
    champion = next(axis for axis in verdict.axes if axis.name == "champion")
    assert [part.name for part in champion.parts] == ["label", "rating", "words"]
    assert {axis.name for axis in verdict.axes} >= {"targets", "interference", "rating: slices", "words: other scores"}
    assert [record.look for record in read_history(line.workspace, MODEL)] == [None]


def test_a_version_that_answers_a_target_less_is_held_and_says_which(line: Line) -> None:
    fewer = run_line(line.workspace.root, ["data.targets=['words: multi_label: bad|good']", "adaptation.epochs=2"])
    assert fewer.decision.verdict != "PROMOTE"
    (dropped,) = (axis for axis in fewer.decision.axes if axis.name == "dropped targets")
    assert (dropped.consequence, dropped.sentence.split(": ")[0]) == (
        "HOLD",
        "the champion answers rating, too, which this version does not",
    )
