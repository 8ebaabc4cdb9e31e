"""What adapting a model made it forget of its source task."""

from dataclasses import dataclass

from graftline.comparison import compare, strata_of
from graftline.metrics import Difference, Floats, Integers, Score, scores
from graftline.paired import Gains


@dataclass(frozen=True)
class Retention:
    """How well a linear head tells the labels of the source task from a model's vectors, before and after adapting."""

    labels: int
    learnt_from: int
    """Probe rows that the heads were solved on, their penalty included."""
    before: Score
    """Accuracy on the vectors of the frozen base model."""
    after: Score
    """Accuracy on those of the adapted model."""
    difference: Difference
    """After minus before, paired on the judged rows; below 0 something was forgotten."""
    gains: Gains
    """On the judged rows, which no head has learnt from."""
    unchanged: bool
    """Whether every vector is, bit for bit, that of the base model: then nothing can have been forgotten."""


def retention(
    before: Floats,
    after: Floats,
    targets: Integers,
    *,
    learnt_from: int,
    unchanged: bool,
    resamples: int,
    seed: int,
) -> Retention:
    """What two heads' probabilities (rows, labels) for the same judged rows say of the vectors that they read.

    The drop in the accuracy of linear probes is how Davari et al. 2022 (arXiv 2203.13381) measure forgetting: the head
    of the source task is gone, and what can still be read from a representation was not forgotten. The intervals say
    what other rows to judge by would give, not what other rows to learn from would.
    """
    compared = compare(
        "single_label", after, before, targets, against="the frozen base model", slices=(),
        resamples=resamples, seed=seed,
    )  # fmt: skip
    scored = scores(after, targets, resamples=resamples, seed=seed, strata=strata_of("single_label", targets))
    return Retention(
        labels=before.shape[1],
        learnt_from=learnt_from,
        before=compared.scores["accuracy"],
        after=scored["accuracy"],
        difference=compared.differences["accuracy"],
        gains=compared.gains,
        unchanged=unchanged,
    )
