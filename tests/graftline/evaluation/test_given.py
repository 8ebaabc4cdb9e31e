"""Answers that travel with probabilities: what judges answers reads them, what judges probabilities does not."""

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from graftline.answers.tasks import TASKS
from graftline.evaluation.comparison import aligned
from graftline.evaluation.given import WithAnswers, answers_in, label_given, labels_given, with_answers
from graftline.evaluation.metrics import Floats
from graftline.evaluation.single_label import confusion
from graftline.models.outputs import FurtherOutputs, Outputs, outputs_of
from graftline.settings import Task

LABELS = ("ham", "spam", "unsure")
OF_PROBABILITIES = ("log_loss", "calibration_error")
COSTS = ((0.0, 1.0, 1.0), (9.0, 0.0, 1.0), (1.0, 1.0, 0.0))


def probabilities(task: Task, seed: int = 0, rows: int = 60) -> Floats:
    random = np.random.default_rng(seed)
    return random.dirichlet(np.ones(3), rows) if task == "single_label" else random.random((rows, 3))


def answered(outputs: Outputs, values: Floats) -> Floats:
    return with_answers(values, TASKS[outputs.task].outputs.given(outputs, values))


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
@drawn(threshold=st.floats(0.05, 0.95), seed=st.integers(0, 99))
def test_equal_thresholds_give_the_usual_answers(task: Task, threshold: float, seed: int) -> None:
    values = probabilities(task, seed)
    outputs = Outputs(task, LABELS, thresholds=(threshold if task == "single_label" else 0.5,) * 3)
    assert TASKS[task].scores.is_same(values, answered(outputs, values), 1.0).all()


def test_the_answer_of_least_cost_is_scored_and_the_probabilities_stay() -> None:
    values, targets = probabilities("single_label"), np.random.default_rng(1).integers(0, 3, 60)
    said = answered(Outputs("single_label", LABELS, costs=COSTS), values)
    given = (values @ np.array(COSTS)).argmin(1)
    assert np.array_equal(said, values)
    assert (given != values.argmax(1)).any()
    once = np.ones((1, 60))
    scores = TASKS["single_label"].scores
    found, usual = ({k: float(m(once)[0]) for k, m in scores.metrics(each, targets).items()} for each in (said, values))
    assert found["accuracy"] == accuracy_score(targets, given)
    assert found["macro_f1"] == pytest.approx(f1_score(targets, given, average="macro"))
    assert [found[name] for name in OF_PROBABILITIES] == [usual[name] for name in OF_PROBABILITIES]
    assert np.array_equal(confusion(said, targets), confusion_matrix(targets, given))
    assert np.array_equal(scores.quality(said, targets) > 0, given == targets)
    assert np.array_equal(scores.wrongness(said, targets) < 0, given == targets)
    assert scores.said(said[0], LABELS) == (LABELS[given[0]], values[0, given[0]])


def test_labels_are_given_from_their_own_thresholds_on() -> None:
    values, targets = probabilities("multi_label"), np.random.default_rng(1).integers(0, 2, (60, 3))
    said = answered(Outputs("multi_label", LABELS, thresholds=(0.2, 0.5, 0.9)), values)
    given = values >= (0.2, 0.5, 0.9)
    scores = TASKS["multi_label"].scores
    once = np.ones((1, 60))
    found, usual = ({k: float(m(once)[0]) for k, m in scores.metrics(each, targets).items()} for each in (said, values))
    assert found["macro_f1"] == pytest.approx(f1_score(targets, given, average="macro"))
    assert [found[name] for name in OF_PROBABILITIES] == [usual[name] for name in OF_PROBABILITIES]
    assert scores.said(said[3], LABELS)[0] == ", ".join(
        f"{label} ({one:.0%})" for label, one, there in zip(LABELS, values[3], given[3], strict=True) if there
    )


def test_rows_and_columns_take_their_answers_along_and_what_is_computed_has_none() -> None:
    values = probabilities("multi_label")
    said = with_answers(values, values >= 0.9)
    rows = np.array([3, 1, 40])
    assert np.array_equal(labels_given(said[rows]), values[rows] >= 0.9)
    assert np.array_equal(labels_given(said[values[:, 0] > 0.5, 1:]), values[values[:, 0] > 0.5, 1:] >= 0.9)
    assert answers_in(said * 2) is None
    assert answers_in(np.asarray(said)) is None
    assert isinstance(said, WithAnswers)


def test_columns_in_another_order_keep_the_answers_and_an_unknown_label_is_never_given() -> None:
    values = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    said = with_answers(values, np.eye(3, dtype=bool)[[2, 1]])
    assert label_given(aligned(said, LABELS, ("unsure", "new", "spam"))).tolist() == [0, 2]
    # An answer that is none of the labels of today: the likeliest of these counts, as where no answers are told.
    assert label_given(aligned(said, LABELS, ("ham", "spam"))).tolist() == [0, 1]


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_what_a_model_answers_is_understood_as_it_was_given(task: Task) -> None:
    kind, values = TASKS[task].outputs, probabilities(task)
    said = answered(Outputs(task, LABELS, thresholds=(0.2, 0.5, 0.9)), values)
    columns = kind.answered(said, LABELS)
    labels, understood = kind.understood([dict(zip(columns, row, strict=True)) for row in zip(*columns.values())])  # noqa: B905
    assert labels == list(LABELS)
    assert np.array_equal(understood, values)
    assert TASKS[task].scores.is_same(said, understood, 1.0).all()


def test_a_rule_is_written_beside_the_model_and_nothing_where_there_is_none() -> None:
    plain = Outputs("multi_label", ("a", "b"))
    assert list(plain.as_json()) == ["task", "labels", "mean", "spread", "temperature"]
    ruled = Outputs("multi_label", ("a", "b"), thresholds=(0.25, 0.5))
    priced = Outputs("single_label", LABELS, costs=COSTS)
    several = Outputs("regression", further=(FurtherOutputs("a", ruled), FurtherOutputs("b", plain)))
    for outputs in (plain, ruled, priced, several):
        assert outputs_of(outputs.as_json()) == outputs
    assert list(several.as_json()["further"][1]["outputs"]) == [*plain.as_json(), "further"]
