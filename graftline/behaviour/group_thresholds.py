"""What thresholds for each group would bring: answers of two labels, given where a group's own threshold is reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from graftline.behaviour.bias import SMALLEST_GROUP, Disparity
from graftline.evaluation.bootstrap import Difference
from graftline.evaluation.given import label_given
from graftline.evaluation.metrics import Floats, Integers

Constraint = Literal["demographic_parity", "equalized_odds"]


@dataclass(frozen=True)
class ThresholdsOfGroups:
    """The held-out rows, answered by thresholds for the groups of a column."""

    name: str
    """The column of the groups."""
    constraint: Constraint
    learned_from: int
    """Validation rows, by which the thresholds were set."""
    disparities: Sequence[Disparity]
    """With these thresholds; as `frozen` and `amplification` what the model has without them, and the change."""
    cost: Difference
    """The main score with these thresholds minus that without."""


@dataclass(frozen=True, eq=False)
class GroupedRows:
    """Rows with the group and the probability of each label: (rows, 2)."""

    groups: Sequence[str]
    probabilities: Floats


def answers_by_group(
    validation: GroupedRows, targets: Integers, held_out: GroupedRows, *, constraint: Constraint, seed: int
) -> tuple[Floats, int]:
    """The answers for the held-out rows as probabilities of 0 and 1, and by how many rows the thresholds were set.

    Thresholds of fairlearn's ThresholdOptimizer (Hardt et al. 2016, arXiv 1610.02413) for the highest accuracy under
    the constraint, on validation rows with their `targets` (rows,). Between two thresholds it draws lots, by the seed.
    A group needs rows of both labels, and `SMALLEST_GROUP` in all; others are answered as they are, and without two
    such groups all are, by 0 rows.
    """
    from fairlearn.postprocessing import ThresholdOptimizer
    from sklearn.linear_model import LinearRegression

    plain = np.eye(2)[label_given(held_out.probabilities)]
    known, unknown = np.array(validation.groups), np.array(held_out.groups)
    names = [name for name in np.unique(known) if _is_enough(targets[known == name])]
    if len(names) < 2:
        return plain, 0
    here, there = np.isin(known, names), np.isin(unknown, names)
    given = LinearRegression()  # a model is asked for: one that gives back the probability that it is given
    given.coef_, given.intercept_ = np.ones(1), 0.0
    optimizer = ThresholdOptimizer(
        estimator=given, constraints=constraint, objective="accuracy_score", prefit=True, predict_method="predict"
    )
    optimizer.fit(validation.probabilities[here, 1:], targets[here], sensitive_features=known[here])
    asked = held_out.probabilities[there, 1:]
    said = optimizer.predict(asked, sensitive_features=unknown[there], random_state=seed) if there.any() else []
    plain[there] = np.eye(2)[np.asarray(said, dtype=np.int64)]
    return plain, int(here.sum())


def _is_enough(targets: Integers) -> bool:
    return len(targets) >= SMALLEST_GROUP and len(np.unique(targets)) > 1
