"""How often a model is right where no labels are, by its confidence alone: an estimate, and no ground for an alarm."""

from dataclasses import dataclass

import numpy as np

from graftline.evaluation.metrics import Floats

# Halves of the held-out rows on which the method's own error is measured.
SPLITS = 200


@dataclass(frozen=True)
class Estimated:
    """An estimate of the score without labels."""

    value: float
    error: float
    """Its root mean square error on held-out rows, where the truth is known; under drift it is larger by what no
    held-out row can show."""


def confidence_floor(confidence: Floats, right: Floats) -> float:
    """The confidence above which lie as many held-out rows as are right: (rows,) each.

    Source: average thresholded confidence, Garg et al. 2022, arXiv 2201.04234, equation 3.
    """
    wrong = round(float((1 - right).sum()))
    return float(np.sort(confidence)[wrong]) if wrong < len(confidence) else float("inf")


def estimated_score(confidence: Floats, held_out: Floats, right: Floats, random: np.random.Generator) -> Estimated:
    """The share of `confidence` (rows,) that lies above the floor, which the held-out rows give."""
    value = float((confidence >= confidence_floor(held_out, right)).mean())
    return Estimated(value, estimation_error(held_out, right, len(confidence), random))


def estimation_error(confidence: Floats, right: Floats, rows: int, random: np.random.Generator) -> float:
    """The root mean square error of the estimate for so many rows of the same kind as the held-out ones.

    One half of the held-out rows gives the floor; so many of the other half, with repetition, are estimated.
    """
    half, squares = len(confidence) // 2, []
    for _ in range(SPLITS):
        order = random.permutation(len(confidence))
        floor = confidence_floor(confidence[order[:half]], right[order[:half]])
        asked = random.choice(order[half:], rows)
        squares.append(((confidence[asked] >= floor).mean() - right[asked].mean()) ** 2)
    return float(np.sqrt(np.mean(squares)))
