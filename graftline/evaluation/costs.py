"""What the answers of a model cost, and those that can be expected to cost least."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftline.errors import SettingsError
from graftline.evaluation.metrics import Floats, Integers, Metric, mean_of
from graftline.settings.costs import Cost

# What a confusion costs that nobody has put a price on.
USUAL_COST = 1.0
# The names of the numbers: of the likeliest label, of the one that can be expected to cost least, and their difference.
LIKELIEST, LEAST, SAVED = "likeliest", "least_cost", "saved"


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
    return np.asarray((probabilities @ matrix).argmin(1))


def cost_metrics(probabilities: Floats, targets: NDArray[Any], *, matrix: Floats) -> dict[str, Metric]:
    """The mean costs of a row's answer, as functions of how often each row counts."""
    of_likeliest = matrix[targets, probabilities.argmax(1)]
    of_least = matrix[targets, least_cost_answers(probabilities, matrix)]
    return {LIKELIEST: mean_of(of_likeliest), LEAST: mean_of(of_least), SAVED: mean_of(of_likeliest - of_least)}
