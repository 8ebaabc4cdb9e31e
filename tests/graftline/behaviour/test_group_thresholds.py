"""Thresholds for each group are fairlearn's, and groups that are too small keep their answers."""

from typing import get_args

import numpy as np
import pytest
from fairlearn.metrics import demographic_parity_difference
from fairlearn.postprocessing import ThresholdOptimizer
from sklearn.linear_model import LogisticRegression

from graftline.behaviour.group_thresholds import Constraint, GroupedRows, answers_by_group
from graftline.evaluation.metrics import Floats, Integers

ROWS = 600


def drawn(seed: int) -> tuple[Floats, Integers, list[str]]:
    """Features, labels, and groups of which b has a label more often, which one feature tells."""
    random = np.random.default_rng(seed)
    groups = random.choice(["a", "b"], ROWS)
    targets = (random.random(ROWS) < np.where(groups == "b", 0.7, 0.3)).astype(np.int64)
    return (
        np.stack([targets + random.normal(0, 1, ROWS), groups == "b"], axis=1).astype(float),
        targets,
        groups.tolist(),
    )


@pytest.mark.parametrize("constraint", get_args(Constraint))
def test_the_answers_are_those_of_fairlearn(constraint: Constraint) -> None:
    (known, targets, groups), (unknown, _, asked) = drawn(0), drawn(1)
    model = LogisticRegression().fit(known, targets)
    ours, rows = answers_by_group(
        GroupedRows(groups, model.predict_proba(known)),
        targets,
        GroupedRows(asked, model.predict_proba(unknown)),
        constraint=constraint,
        seed=3,
    )
    reference = ThresholdOptimizer(
        estimator=model, constraints=constraint, objective="accuracy_score", prefit=True, predict_method="predict_proba"
    ).fit(known, targets, sensitive_features=groups)
    theirs = reference.predict(unknown, sensitive_features=asked, random_state=3)
    assert rows == ROWS
    assert np.array_equal(ours.argmax(1), theirs)


def test_a_planted_gap_nearly_closes_and_costs_right_answers() -> None:
    (known, targets, groups), (unknown, true, asked) = drawn(0), drawn(1)
    model = LogisticRegression().fit(known, targets)
    plain = model.predict_proba(unknown)
    ours, _ = answers_by_group(
        GroupedRows(groups, model.predict_proba(known)),
        targets,
        GroupedRows(asked, plain),
        constraint="demographic_parity",
        seed=0,
    )
    before, after = (
        demographic_parity_difference(true, one.argmax(1), sensitive_features=asked) for one in (plain, ours)
    )
    assert before > 0.4
    assert after < 0.1
    assert (ours.argmax(1) == true).mean() < (plain.argmax(1) == true).mean()


def test_groups_with_few_rows_or_one_label_keep_their_answers() -> None:
    random = np.random.default_rng(4)
    groups = [("a", "b", "few", "one label")[place % 4] if place < 40 else "ab"[place % 2] for place in range(400)]
    groups[200:240] = ["one label"] * 40
    targets = random.integers(0, 2, 400)
    targets[np.array(groups) == "one label"] = 1
    first = random.random(400)
    rows = GroupedRows(groups, np.stack([1 - first, first], axis=1))
    ours, learned_from = answers_by_group(rows, targets, rows, constraint="demographic_parity", seed=0)
    kept = ~np.isin(groups, ["a", "b"])
    assert learned_from == (~kept).sum()
    assert np.array_equal(ours[kept].argmax(1), rows.probabilities[kept].argmax(1))
    alone = GroupedRows(["a"] * 400, rows.probabilities)
    answers, none = answers_by_group(alone, targets, alone, constraint="demographic_parity", seed=0)
    assert none == 0
    assert np.array_equal(answers.argmax(1), rows.probabilities.argmax(1))
