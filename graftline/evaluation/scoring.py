"""The scores of a task, as words: which there are, and which of them decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True)
class Scoring:
    """The scores of one task."""

    primary: str
    """Decides about the best epoch and the verdict, and stands first in a report. Higher is better."""
    better: Mapping[str, str]
    """All scores, each with the direction in which it is better."""
    floors: Sequence[str]
    """Scores that may have a floor in the promotion policy."""
    loss: str
    """The quantity that training minimises."""
    baseline: str
    """The answer without a model, whose primary score a candidate must beat."""
    on_words: str
    """The linear model on a text's words, whose primary score a candidate must beat, too."""


def spelt(score: str) -> str:
    """A score's name for a reader."""
    return {"r2": "R²"}.get(score, score.replace("_f1", "-F1").replace("_", " "))
