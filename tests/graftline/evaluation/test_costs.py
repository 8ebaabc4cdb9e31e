"""Costs of answers: read as they are written, and the answers that cost least against a brute-force loop."""

import numpy as np
import pytest

from graftline.errors import SettingsError
from graftline.evaluation.costs import (
    LEAST,
    LIKELIEST,
    SAVED,
    answered_at_least_cost,
    cost_matrix,
    cost_metrics,
    least_cost_answers,
    priced,
)
from graftline.evaluation.single_label import SCORES
from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.costs import Cost, cost_of, require_one_cost_each
from graftline.settings.evaluation import EvaluationSettings

LABELS = ("ham", "spam", "to: read")
LINES = ["spam > ham: 5", "to: read > spam: 2.5"]


def drawn() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.dirichlet(np.ones(3), size=50), random.integers(3, size=50)


def test_a_line_names_truth_answer_and_cost_whatever_colons_labels_hold() -> None:
    assert [cost_of(line) for line in LINES] == [Cost("spam", "ham", 5.0), Cost("to: read", "spam", 2.5)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("spam", r"'spam' names no cost, expected TRUTH > ANSWER: COST .* as in spam > ham: 5"),
        ("spam > ham", "names no cost"),
        ("spam > ham: much", "names no cost"),
        ("spam > ham: -1", "a number of 0 or more"),
        ("spam > ham: nan", "a number of 0 or more"),
        ("spam > spam: 2", "a right answer costs nothing"),
    ],
)
def test_what_is_no_cost_is_refused_with_the_line(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluationSettings(costs=[line])


def test_a_confusion_has_one_cost() -> None:
    with pytest.raises(ValueError, match=r"'spam > ham: 5' and 'spam>ham: 3' name one confusion; drop one of them"):
        require_one_cost_each([*LINES, "spam>ham: 3"])


def test_what_is_not_named_costs_one_and_a_right_answer_nothing() -> None:
    matrix = cost_matrix([cost_of(line) for line in LINES], LABELS)
    assert matrix.tolist() == [[0, 1, 1], [5, 0, 1], [1, 2.5, 0]]


def test_a_label_that_the_data_have_not_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"evaluation\.costs: 'spma' is none of the labels of the data, ham, spam"):
        cost_matrix([Cost("spma", "ham", 2)], LABELS)


def test_the_answers_are_those_of_the_least_expected_cost() -> None:
    probabilities, targets = drawn()
    matrix = cost_matrix([cost_of(line) for line in LINES], LABELS)
    expected = [
        min(range(3), key=lambda answer: sum(row[truth] * matrix[truth, answer] for truth in range(3)))
        for row in probabilities
    ]
    assert least_cost_answers(probabilities, matrix).tolist() == expected
    counts = np.random.default_rng(1).integers(0, 3, size=(4, 50)).astype(float)
    found = {name: metric(counts) for name, metric in cost_metrics(probabilities, targets, matrix=matrix).items()}
    for draw, weights in enumerate(counts):
        least = np.average([matrix[t, a] for t, a in zip(targets, expected, strict=True)], weights=weights)
        likeliest = np.average(matrix[targets, probabilities.argmax(1)], weights=weights)
        assert (found[LEAST][draw], found[LIKELIEST][draw]) == pytest.approx((least, likeliest))
        assert found[SAVED][draw] == pytest.approx(likeliest - least)


def test_costs_are_not_expected_of_the_probabilities_of_balanced_rows() -> None:
    with pytest.raises(ValueError, match="its probabilities are for rows whose labels are equally frequent"):
        AdaptationSettings(answers="least_cost", class_weights="logit_adjusted")


def test_a_score_of_costs_is_what_the_answers_spare_beside_the_dearest() -> None:
    probabilities, targets = drawn()
    matrix = cost_matrix([cost_of(line) for line in LINES], LABELS)
    given = least_cost_answers(probabilities, matrix)
    cheapest = answered_at_least_cost(probabilities, matrix)
    by_costs = priced(SCORES, matrix)
    spared = [matrix[t].max() - matrix[t, a] for t, a in zip(targets, given, strict=True)]
    assert by_costs.quality(cheapest, targets).tolist() == spared
    once = np.ones((1, len(targets)))
    assert by_costs.metrics(cheapest, targets)[by_costs.scoring.primary](once)[0] == pytest.approx(np.mean(spared))


def test_where_all_errors_cost_the_same_the_likeliest_label_costs_least() -> None:
    probabilities, _ = drawn()
    assert np.array_equal(least_cost_answers(probabilities, cost_matrix([], LABELS)), probabilities.argmax(1))
