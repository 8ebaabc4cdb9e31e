"""What the answers of a model cost, and those that can be expected to cost least."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftline.errors import SettingsError
from graftline.evaluation.given import label_given, with_answers
from graftline.evaluation.metrics import Floats, Integers, Metric, mean_of
from graftline.evaluation.scoring import HIGHER, Scoring
from graftline.evaluation.task_scores import TaskScores
from graftline.settings.costs import Cost

# By how much the answers are cheaper than the dearest ones that there are, in the mean over the rows: as a score, of
# which more is better. Differences between models are those of the mean costs.
SPARED = "spared_costs"
# What a confusion costs that nobody has put a price on.
USUAL_COST = 1.0
# The names of the numbers: of the answers that are given, of the likeliest label, of the one that can be expected to
# cost least, and the difference of these two.
GIVEN, LIKELIEST, LEAST, SAVED = "given", "likeliest", "least_cost", "saved"


def cost_matrix(costs: Sequence[Cost], labels: Sequence[str]) -> Floats:
    """The cost of each answer (columns) for each truth (rows): (labels, labels). What is not named costs 1.

    Raises: SettingsError for a label that the data have not.
    """
    places = {label: place for place, label in enumerate(labels)}
    matrix = USUAL_COST * (1 - np.eye(len(labels)))
    for one in costs:
        for label in (one.truth, one.answer):
            if label not in places:
                raise SettingsError(
                    f"evaluation.costs: {label!r} is none of the labels of the data, {', '.join(labels)}; correct the"
                    " line, or leave it out"
                )
        matrix[places[one.truth], places[one.answer]] = one.cost
    return matrix


def least_cost_answers(probabilities: Floats, matrix: Floats) -> Integers:
    """Of (rows, labels) probabilities the answer with the least expected cost (Elkan 2001, section 1.1): (rows,)."""
    return np.asarray((np.asarray(probabilities) @ matrix).argmin(1))


def answered_at_least_cost(probabilities: Floats, matrix: Floats) -> Floats:
    """The probabilities beside the answers with the least expected cost, whatever was given."""
    given = np.eye(len(matrix), dtype=bool)[least_cost_answers(probabilities, matrix)]
    return with_answers(np.asarray(probabilities), given)


def priced(task_scores: TaskScores, matrix: Floats) -> TaskScores:
    """The scores of a task as they are where costs decide: `SPARED` is the only one, and each row's quality."""

    def spared(probabilities: Floats, targets: NDArray[Any]) -> Floats:
        return np.asarray(matrix.max(1)[targets] - matrix[targets, label_given(probabilities)])

    def metrics(probabilities: Floats, targets: NDArray[Any], /) -> dict[str, Metric]:
        return {SPARED: mean_of(spared(probabilities, targets))}

    scoring = priced_scoring(task_scores.scoring)
    return replace(task_scores, scoring=scoring, metrics=metrics, quality=spared, hits=False)


def priced_scoring(scoring: Scoring) -> Scoring:
    """The scores of a task with `SPARED` as the main one."""
    return replace(scoring, primary=SPARED, better={SPARED: HIGHER, **scoring.better})


def cost_metrics(probabilities: Floats, targets: NDArray[Any], *, matrix: Floats) -> dict[str, Metric]:
    """The mean costs of a row's answer, as functions of how often each row counts."""
    of_likeliest = matrix[targets, np.asarray(probabilities).argmax(1)]
    of_least = matrix[targets, least_cost_answers(probabilities, matrix)]
    of_given = matrix[targets, label_given(probabilities)]
    return {
        GIVEN: mean_of(of_given),
        LIKELIEST: mean_of(of_likeliest),
        LEAST: mean_of(of_least),
        SAVED: mean_of(of_likeliest - of_least),
    }
