"""What held-out rows show beside the scores: tables that count every row, baselines, and pictures of any label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import confusion_matrix

from graftline.answers.tasks import TASKS
from graftline.evaluation import multi_label, regression
from graftline.evaluation.examination import Answers
from graftline.evaluation.metrics import Floats
from graftline.evaluation.multi_label import label_confusion
from graftline.evaluation.regression import in_quarters, number_reliability


@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 99))
def test_the_table_of_several_labels_holds_that_of_scikit_learn_for_each(rows: int, labels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    probabilities, targets = random.random((rows, labels)), random.integers(0, 2, (rows, labels))
    table = label_confusion(probabilities, targets)
    assert table.sum() == rows * labels
    for label in range(labels):
        block = table[2 * label : 2 * label + 2, 2 * label : 2 * label + 2]
        # Scikit-learn counts what is not there first.
        theirs = confusion_matrix(targets[:, label], probabilities[:, label] >= 0.5, labels=[1, 0])
        assert (block == theirs).all()


@given(arrays.arrays(np.float64, (23, 1), elements=st.integers(-9, 9).map(float)), st.integers(0, 99))
def test_every_number_lies_in_one_quarter_and_in_one_tenth(targets: Floats, seed: int) -> None:
    predictions = np.random.default_rng(seed).normal(0, 5, (23, 1))
    table, bins = in_quarters(predictions, targets), number_reliability(predictions, targets)
    assert table.sum() == sum(entry["rows"] for entry in bins) == 23
    means = [sum(entry["rows"] * entry[name] for entry in bins) / 23 for name in ("confidence", "accuracy")]
    assert means == pytest.approx([predictions.mean(), targets.mean()])
    assert sorted(entry["confidence"] for entry in bins) == [entry["confidence"] for entry in bins]


def test_right_numbers_lie_on_the_diagonal_of_the_quarters() -> None:
    targets = np.arange(100.0)[:, None]
    assert in_quarters(targets, targets).tolist() == np.diag([25, 25, 25, 25]).tolist()


def test_baselines_are_label_frequencies_and_the_mean() -> None:
    single, several, number = (TASKS[task].scores.without_model for task in TASKS)
    name, one = single(np.array([0, 1, 1, 1]), 2, ["a", "b"])
    assert (name, one.tolist()) == ("b", [[0.25, 0.75]] * 2)
    name, shares = several(np.array([[1, 1, 0], [1, 0, 0]]), 1, ["a", "b", "c"])
    assert (name, shares.tolist()) == ("a, b", [[1.0, 0.5, 0.0]])
    assert several(np.array([[0], [0], [1]]), 1, ["a"])[0] == "no label"
    name, numbers = number(np.array([[1.0], [2.0]]), 3, [])
    assert (name, numbers.tolist()) == ("1.5", [[1.5]] * 3)


@pytest.mark.parametrize("label", [r"$\frac{", "<script>", "a" * 200, ""])
def test_pictures_of_each_task_can_be_drawn_with_any_name(label: str) -> None:
    random = np.random.default_rng(0)
    several = multi_label.examine(
        Answers(random.random((9, 2)), random.random((9, 2)), random.integers(0, 2, (9, 2)), [label, "b"], "t")
    )
    guessed = random.random((9, 1))
    numbers = regression.examine(Answers(guessed, guessed, guessed + 1, [], label))
    for seen in (several, numbers):
        assert len(seen.pictures) == 2
        assert all(picture.startswith(b"\x89PNG") for picture in seen.pictures.values())
        # Their first words are the names of their files.
        assert len({title.split()[0] for title in seen.pictures}) == 2
        assert len(seen.confusion_names) == len(seen.confusion)
