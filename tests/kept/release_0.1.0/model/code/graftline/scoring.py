"""What the models of each task are judged by, as words: which scores there are, and which of them decides."""

from collections.abc import Mapping
from dataclasses import dataclass

from graftline.settings import Task

HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True)
class Scoring:
    """The scores of one task."""

    primary: str
    """Decides about the best epoch and the verdict, and stands first in a report. Higher is better."""
    better: Mapping[str, str]
    """All scores, each with the direction in which it is better."""
    loss: str
    """What training minimises."""
    baseline: str
    """What needs no model, and whose primary score a candidate must beat."""


SCORING: Mapping[Task, Scoring] = {
    "single_label": Scoring(
        primary="accuracy",
        better={"accuracy": HIGHER, "macro_f1": HIGHER, "log_loss": LOWER, "calibration_error": LOWER},
        loss="log loss",
        baseline="the most frequent label",
    ),
    "multi_label": Scoring(
        primary="macro_f1",
        better={
            "macro_f1": HIGHER,
            "micro_f1": HIGHER,
            "subset_accuracy": HIGHER,
            "log_loss": LOWER,
            "calibration_error": LOWER,
        },
        loss="log loss",
        baseline="the label frequencies",
    ),
    "regression": Scoring(
        primary="r2",
        better={"r2": HIGHER, "mean_absolute_error": LOWER, "root_mean_squared_error": LOWER},
        loss="squared error",
        baseline="the training mean",
    ),
}


def spelt(score: str) -> str:
    """A score's name for a reader."""
    return {"r2": "R²"}.get(score, score.replace("_f1", "-F1").replace("_", " "))
