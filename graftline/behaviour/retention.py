"""How much of its source task a model forgot while it was adapted."""

from dataclasses import dataclass

from graftline.evaluation.bootstrap import Difference, Score, scores
from graftline.evaluation.comparison import compare
from graftline.evaluation.metrics import Floats, Integers
from graftline.evaluation.paired_tests import Gains
from graftline.evaluation.single_label import SCORES


@dataclass(frozen=True)
class Retention:
    """How well a linear head tells the labels of the source task from a model's vectors, before and after adapting."""

    labels: int
    learned_from: int
    """Probe rows that the heads were solved on, their penalty included."""
    before: Score
    """Accuracy on the vectors of the frozen base model."""
    after: Score
    """Accuracy on those of the adapted model."""
    difference: Difference
    """After minus before, paired on the judged rows; below 0 something was forgotten."""
    gains: Gains
    """On the judged rows, which no head has learned from."""
    unchanged: bool
    """Whether every vector is, bit for bit, that of the base model: then nothing can have been forgotten."""


def retention(
    before: Floats,
    after: Floats,
    targets: Integers,
    *,
    learned_from: int,
    unchanged: bool,
    resamples: int,
    seed: int,
) -> Retention:
    """How much can still be read from vectors, by two heads' probabilities (rows, labels) for the same judged rows.

    The drop in the accuracy of linear probes is how Davari et al. 2022 (arXiv 2203.13381) measure forgetting: the head
    of the source task is gone, and what can still be read from a representation was not forgotten. The intervals say
    what other rows to judge by would give, not what other rows to learn from would.
    """
    compared = compare(
        SCORES,
        after,
        before,
        targets,
        against="the frozen base model",
        slices=(),
        resamples=resamples,
        seed=seed,
    )
    strata = SCORES.strata(targets)
    scored = scores(after, targets, of=SCORES.metrics, resamples=resamples, seed=seed, strata=strata)
    return Retention(
        labels=before.shape[1],
        learned_from=learned_from,
        before=compared.scores["accuracy"],
        after=scored["accuracy"],
        difference=compared.differences["accuracy"],
        gains=compared.gains,
        unchanged=unchanged,
    )
