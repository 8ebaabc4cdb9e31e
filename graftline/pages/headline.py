"""A run in one sentence without statistics."""

from collections.abc import Mapping, Sequence

from graftline.evaluation.scoring import spelt
from graftline.pages.answers_shown import AnswersShown
from graftline.settings import Kind
from graftline.verdict.axis import Axis

THINGS: Mapping[Kind, str] = {"text": "texts", "image": "images", "audio": "sounds"}
# A baseline in the words of who never heard of it, by its name.
IN_PLAIN_WORDS = {
    "majority": "one answer for all",
    "tfidf": "counting words",
    "frozen_head": "the base model without adapting it",
    "scratch": "a model without the base model's knowledge",
    "single_task": "a model for this target alone",
}
MOST_PARTS_NAMED = 3

Scores = Mapping[str, Mapping[str, float]]


def headline(
    shown: AnswersShown,
    kind: Kind,
    rows: int,
    scores: Scores,
    *,
    other: tuple[str, Scores],
    axes: Sequence[Axis],
) -> str:
    """Such as: Right on 858 of 1,000 texts; the old one on 820 of the same; no score and no group of rows got worse.

    `other` is the champion, or the best baseline, with its name.
    """
    value = shown.counted(scores[shown.plain]["value"], rows)
    ours = shown.ours.format(value=value, rows=f"{rows:,}", things=THINGS[kind])
    who, reached = other
    theirs = shown.theirs.format(who=who, value=shown.counted(reached[shown.plain]["value"], rows))
    return "; ".join([ours, theirs, *_worse(axes)])


def _worse(axes: Sequence[Axis]) -> list[str]:
    """What the axes beside the main score say about it, if there was anything to compare with."""
    beside = [axis for axis in axes if axis.name in ("other scores", "slices")]
    lost = [spelt(part.name) for axis in beside for part in axis.parts if part.outcome == "loss"]
    if lost:
        more = f" and {len(lost) - MOST_PARTS_NAMED} more" if len(lost) > MOST_PARTS_NAMED else ""
        return [f"it got worse in {', '.join(lost[:MOST_PARTS_NAMED])}{more}"]
    well = {axis.name for axis in beside if axis.outcome in ("win", "tie")}
    champion = next((axis for axis in axes if axis.name == "champion"), None)
    if champion is None or champion.outcome == "loss" or "other scores" not in well:
        return ["whether something else got worse is not sure yet"] if beside else []
    return ["no score and no group of rows got worse" if "slices" in well else "no score got worse"]
