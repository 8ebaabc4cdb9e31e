"""The line with answers that are not the likeliest: from rows whose labels overlap to what the version answers."""

import csv
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pytest
from pyarrow import parquet
from sklearn.metrics import confusion_matrix

from benchmarks.scores.projects import git, write_data_pointer
from graftline.answers.predicting import predictor_of
from graftline.tasks.data.accepted_rows import questions, split_targets
from graftline.tasks.registry.history import read_history
from graftline.tasks.steps.evaluate_model import evaluate_model
from graftline.tasks.steps.fine_tune import fine_tune
from graftline.tasks.tracking.server import connect
from tests.support.tiny_models import BAD, FILLERS, GOOD
from tests.support.tiny_project import (
    LABELS,
    MODEL,
    Line,
    connected,
    forget_servers,
    run_line,
    write_policy,
    write_project,
)

pytestmark = pytest.mark.full

ROWS = 600
COSTS = "evaluation.costs=['good > bad: 8']"
CHEAP = ["data.test_share=0.45", "evaluation.changed_rows=0", "evaluation.bootstrap=400", COSTS]


@dataclass(frozen=True)
class Lines:
    """Three runs, one after the other."""

    likeliest: Line
    by_score: Line
    by_costs: Line


def overlapping_rows() -> str:
    """Rows of two labels with words that tell which; those of every fourth row are of both."""
    drawn = random.Random(0)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "text", "label", "source"])
    for number in range(ROWS):
        told = [FILLERS[0]] if number // 2 % 4 == 0 else GOOD if number % 2 else BAD
        words = [*drawn.choices(FILLERS[1:], k=6), *drawn.choices(told, k=2)]
        drawn.shuffle(words)
        writer.writerow([f"r{number}", " ".join(words), LABELS[number % 2], f"s{number % 3}"])
    return text.getvalue()


@pytest.fixture(scope="module")
def lines_once(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Lines]:
    """A first version with the likeliest answers, and one with those of the least expected cost, judged twice."""
    with pytest.MonkeyPatch.context() as patch:
        root = write_project(tmp_path_factory.mktemp("answers") / "project")
        (root / "data" / "rows.csv").write_text(overlapping_rows(), encoding="utf-8")
        write_data_pointer(root)
        write_policy(root, baselines=[])
        git(root, "commit", "--quiet", "--all", "--message", "labels that overlap")
        connected(root, empty_store, patch)
        priced = [*CHEAP, "adaptation.answers=least_cost"]
        likeliest, by_score = run_line(root, CHEAP), run_line(root, priced)
        write_policy(
            root,
            baselines=[],
            main_score="costs",
            false_promotions=0.2,
            planned_looks=2,
            margins={"accuracy": 0.1, "macro_f1": 0.1},
        )
        yield Lines(likeliest, by_score, run_line(root, priced))


@pytest.fixture
def lines(lines_once: Lines, monkeypatch: pytest.MonkeyPatch) -> Lines:
    forget_servers(monkeypatch)
    connect(lines_once.likeliest.workspace)
    return lines_once


def kept(line: Line) -> np.ndarray:
    table = parquet.read_table(line.evaluation.folder.path / "predictions.parquet")
    return np.stack([table[f"probability.{label}"].to_numpy() for label in line.data.labels], axis=1)


def test_the_version_answers_as_it_was_scored_and_not_by_the_likeliest_label(lines: Lines) -> None:
    likeliest, priced = lines.likeliest, lines.by_score
    assert np.array_equal(kept(likeliest), kept(priced))
    assert likeliest.checkpoint.weights_sha256 == priced.checkpoint.weights_sha256
    asked = list(questions(priced.workspace, priced.data, "test"))
    served = mlflow.pyfunc.load_model(f"models:/{MODEL}/2").predict(asked)
    given = [priced.data.labels.index(label) for label in served["label"]]
    assert (np.array(given) != kept(priced).argmax(1)).any()
    targets = split_targets(priced.data, "test").numpy()
    assert priced.evaluation.scores["accuracy"]["value"] == pytest.approx(np.equal(given, targets).mean())
    assert np.array_equal(priced.evaluation.held_out.confusion, confusion_matrix(targets, given))


def test_the_answers_are_told_where_the_model_is_described(lines: Lines) -> None:
    assert lines.likeliest.checkpoint.answers is None
    words = "the label of the least expected cost, by good &gt; bad: 8"
    assert words in lines.by_costs.report.read_text(encoding="utf-8")


def test_another_rule_of_the_same_weights_is_another_version_and_cheaper_answers_alone_do_not_promote_it(
    lines: Lines,
) -> None:
    assert (lines.likeliest.decision.verdict, lines.likeliest.candidate.version) == ("PROMOTE", 1)
    assert (lines.by_score.decision.verdict, lines.by_score.candidate.version) == ("HOLD", 2)


def test_where_the_policy_has_costs_decide_cheaper_answers_are_promoted(lines: Lines) -> None:
    assert (lines.by_costs.decision.verdict, lines.by_costs.candidate.version) == ("PROMOTE", 3)
    (reason,) = lines.by_costs.decision.reasons
    assert reason.startswith("better than champion version 1: spared_costs +")
    look = read_history(lines.by_costs.workspace, MODEL)[-1].look
    assert look is not None
    assert look.by_costs


def test_thresholds_are_set_on_validation_rows_and_scored_as_they_are_given(lines: Lines) -> None:
    line = lines.likeliest
    tuned = line.settings.adaptation.model_copy(update={"answers": "thresholds"})
    checkpoint = fine_tune.fn(line.workspace, tuned, line.data, line.base)
    predictor = predictor_of(checkpoint.model)
    assert sum(predictor.outputs.thresholds) == pytest.approx(1)
    bad, good = predictor.outputs.thresholds
    assert checkpoint.answers == f"by thresholds: bad {bad:.3f}, good {good:.3f}"
    seen = evaluate_model.fn(line.workspace, line.settings, line.data, checkpoint, line.baselines, None)
    targets = split_targets(line.data, "test").numpy()
    assert seen.scores["accuracy"]["value"] == np.mean((kept(line)[:, 1] > good) == targets)
