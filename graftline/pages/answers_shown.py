"""The part of a task that pages have: the words and formats in which its answers and scores are shown."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class AnswersShown:
    """All that sets the report and the model card of one task apart from those of the others."""

    answer: str
    """The answer of a model; labels, if there are any, follow after it."""
    reached: str
    """The primary score with its article, as in: reaches an accuracy of 0.9."""
    alone: str
    """The answer without a model, in the head of a column."""
    class_word: str
    """Whatever has precision and recall of its own."""
    stranger: str
    """The fate of an input that is like none of the training rows."""
    number: Callable[[float], str]
    """The primary score in large digits."""
    unit: str
    """After these digits."""


def percent(share: float) -> str:
    """A share in hundredths, without the sign."""
    return f"{100 * share:.1f}"
