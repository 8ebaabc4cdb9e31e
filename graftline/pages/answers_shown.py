"""The part of a task that pages have: the words and formats in which its answers and scores are shown."""

from collections.abc import Callable, Mapping
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
    plain: str
    """The score that a sentence without statistics tells."""
    ours: str
    """That sentence, with `{value}`, `{rows}` and `{things}`."""
    theirs: str
    """How it goes on about another model, with `{who}` and `{value}`."""
    counted: Callable[[float, int], str]
    """The score's `value` in that sentence, from it and the number of rows."""
    groups: Mapping[str, str]
    """The titles of examples, by the names of their groups."""


RIGHT_OR_WRONG = {
    "newly right": "Newly right",
    "newly wrong": "Newly wrong",
    "most surely wrong": "Most surely wrong",
}


def share_of_rows(share: float, rows: int) -> str:
    """So many rows."""
    return f"{round(share * rows):,}"


def percent(share: float) -> str:
    """A share in hundredths, without the sign."""
    return f"{100 * share:.1f}"
