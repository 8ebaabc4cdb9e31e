"""Neighbours against scikit-learn's, asked row by row without that row."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsRegressor

from graftline.evaluation.metrics import Floats, Integers
from graftline.transfer.neighbours import accuracy, answers_of_neighbours, explained, mean_area

RANDOM = np.random.default_rng(2)
FEATURES = RANDOM.normal(size=(50, 5))
LABELS = RANDOM.integers(2, size=(50, 3))


def without_each(features: Floats, columns: Integers, groups: Integers) -> Floats:
    answers = []
    for row in range(len(features)):
        others = groups != groups[row]
        model = KNeighborsRegressor(10, metric="cosine").fit(features[others], columns[others])
        answers.append(model.predict(features[row : row + 1])[0])
    return np.array(answers)


def test_the_answer_is_the_mean_of_the_nearest_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graftline.transfer.neighbours.ROWS_AT_ONCE", 7)
    expected = without_each(FEATURES, LABELS, np.arange(50))
    assert answers_of_neighbours(FEATURES, LABELS) == pytest.approx(expected)


def test_rows_of_one_group_are_no_neighbours() -> None:
    twice = np.repeat(np.arange(25), 2)
    expected = without_each(FEATURES, LABELS, twice)
    assert answers_of_neighbours(FEATURES, LABELS, twice) == pytest.approx(expected)


def test_fewer_rows_than_neighbours_and_rows_of_zeros_have_an_answer() -> None:
    assert answers_of_neighbours(np.zeros((3, 2)), np.array([[0], [1], [1]])) == pytest.approx(
        np.array([[1.0], [0.5], [0.5]])
    )


def test_what_neighbours_say_is_scored_by_accuracy_area_and_explained_spread() -> None:
    answers = answers_of_neighbours(FEATURES, LABELS)
    assert mean_area(answers, LABELS) == pytest.approx(roc_auc_score(LABELS, answers, average="macro"))
    assert accuracy(np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([1, 1])) == 0.5
    numbers = FEATURES[:, :1]
    assert explained(numbers, numbers) == 1.0
    assert explained(np.full_like(numbers, numbers.mean()), numbers) == pytest.approx(0.0)
