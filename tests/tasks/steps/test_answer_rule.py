"""The rule of each target's answers: by its task, and of costs the first target's alone."""

from dataclasses import replace

import numpy as np
import torch

from graftline.evaluation.given import labels_given
from graftline.models.outputs import FurtherOutputs, Outputs, parts_of
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.steps.answer_rule import by_thresholds, rule_in_words, rule_of

TOPICS = Outputs("multi_label", ("plot", "cast"), temperature=2.0)
OUTPUTS = Outputs(
    "single_label",
    ("bad", "good"),
    further=(FurtherOutputs("topics", TOPICS), FurtherOutputs("stars", Outputs("regression"))),
)
RARE = torch.tensor([[-2.0, 2.0], [-2.0, 2.0], [-1.0, 2.0], [-9.0, 2.0]] * 5)
THERE = torch.tensor([[1, 1], [0, 1], [1, 1], [0, 1]] * 5)


def test_each_target_has_thresholds_by_its_task() -> None:
    rule = rule_of(AdaptationSettings(answers="thresholds"), [])
    first, topics, stars = parts_of(OUTPUTS)
    raw = torch.tensor([[2.0, 0.0], [0.0, 1.0]] * 10)
    assert rule(first, raw, torch.tensor([0, 1] * 10)).thresholds == (0.5, 0.5)
    tuned = rule(topics, RARE, THERE)
    assert tuned.thresholds[0] < 1 / (1 + torch.tensor(2.0 / 2).exp())
    assert tuned.thresholds[1] == 0.5
    assert rule(stars, torch.zeros(20, 1), torch.zeros(20, 1)) == stars.outputs
    told = rule_in_words(replace(OUTPUTS, further=(FurtherOutputs("topics", tuned),)), [])
    assert told == f"by thresholds: topics: plot {tuned.thresholds[0]:.3f}, cast 0.500"


def test_costs_are_the_first_targets() -> None:
    rule = rule_of(AdaptationSettings(answers="least_cost"), ["bad > good: 3"])
    first, topics, _ = parts_of(OUTPUTS)
    priced = rule(first, RARE, THERE)
    assert priced.costs == ((0.0, 3.0), (1.0, 0.0))
    assert rule(topics, RARE, THERE) == TOPICS
    assert rule_in_words(priced, ["bad > good: 3"]) == "the label of the least expected cost, by bad > good: 3"


def test_the_usual_answers_need_no_words() -> None:
    first = parts_of(OUTPUTS)[0]
    assert rule_of(AdaptationSettings(), [])(first, RARE, THERE) == first.outputs
    assert rule_in_words(OUTPUTS, []) is None


def test_thresholds_chosen_by_some_rows_are_those_that_others_are_answered_by() -> None:
    outputs = Outputs("multi_label", ("common", "rare"))
    chosen_by = np.array([[0.9, 0.3], [0.8, 0.35], [0.1, 0.32], [0.2, 0.05], [0.9, 0.02], [0.1, 0.01]])
    there = np.array([[1, 1], [1, 1], [0, 1], [0, 0], [1, 0], [0, 0]])
    asked = np.array([[0.6, 0.25], [0.4, 0.1]])
    found = by_thresholds(outputs, chosen_by, there, asked)
    np.testing.assert_array_equal(np.asarray(found), asked)
    assert labels_given(asked)[:, 1].tolist() == [False, False]
    assert labels_given(found)[:, 1].tolist() == [True, False]


def test_numbers_are_answered_as_ever() -> None:
    numbers = np.array([[1.0], [2.0]])
    assert by_thresholds(Outputs("regression"), numbers, np.array([1.0, 2.0]), numbers) is numbers
