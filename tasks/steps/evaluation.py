"""The record of step 4: what the held-out rows say of a candidate."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.digests import json_sha256
from graftline.evaluation.scoring import spelt
from graftline.settings import Task
from graftline.tasks.step_folders import StepFolder
from graftline.tasks.steps.champion import Champion
from graftline.tasks.steps.evaluate_target import OnTarget, on_target_of

if TYPE_CHECKING:
    from graftline.behaviour.held_out import HeldOut
    from graftline.evaluation.bootstrap import Difference
    from graftline.evaluation.comparison import Comparison
    from graftline.evaluation.row_gains import RowGains
    from graftline.evaluation.selection import Chosen

SUMMARY, PREDICTIONS = "evaluation.json", "predictions.parquet"

Scores = dict[str, dict[str, float]]

logger = logging.getLogger("graftline.evaluate_model")


@dataclass(frozen=True)
class Evaluation:
    """The word of the held-out rows; `value`, `low` and `high` of every score."""

    folder: StepFolder
    task: Task
    champion: Champion | None
    scores: Scores
    comparison: "Comparison | None"
    """The candidate beside the champion, paired on rows."""
    chosen: "Chosen | None"
    """How the champion does on rows that it was not chosen by, if it was chosen by some."""
    row_gains: "RowGains | None"
    """What it gained beside the champion on each row."""
    baselines: "Mapping[str, Comparison]"
    """The candidate beside each baseline, paired on rows."""
    left_out: Mapping[str, str]
    """Baselines that there is no comparison with, and why."""
    obstacle: str | None
    """Why the champion could not be scored, if so."""
    predictions_sha256: str
    held_out: "HeldOut"
    """All else that there is to show of the rows, also per class and slice."""
    sha256: str
    """The digest of all these numbers."""
    costs: Mapping[str, JsonValue] | None = None
    """What the answers cost, where the settings say what a wrong one does."""
    target: OnTarget | None = None
    """The word of the labelled rows of the target domain, where there are some."""
    beside_teacher: Mapping[str, float] | None = None
    """The share of answers that are its teacher's, and how many times as fast and as small it is, if it had one."""
    first: str | None = None
    """The name of the first of several targets."""
    further: "Mapping[str, Evaluation]" = field(default_factory=dict)
    """The same of each target beside the first one; their numbers count in the digest."""

    @property
    def each(self) -> "dict[str | None, Evaluation]":
        """Every target by its name; None is the first one."""
        each: dict[str | None, Evaluation] = {None: self}
        for name, one in self.further.items():
            each[name] = one
        return each

    @property
    def main_difference(self) -> "Difference | None":
        """By how much the main score is better than the champion's."""
        primary = TASKS[self.task].scores.scoring.primary
        return None if self.comparison is None else self.comparison.differences[primary]


def evaluation_of(folder: StepFolder, champion: Champion | None) -> Evaluation:
    """The record that the step has left in its folder."""
    from graftline.behaviour.held_out import held_out_of
    from graftline.evaluation.comparison import comparison_of
    from graftline.evaluation.row_gains import row_gains_of
    from graftline.evaluation.selection import chosen_of

    summary = cast("dict[str, JsonValue]", folder.read_json(SUMMARY))
    task = cast("Task", summary["task"])
    scores, primary = cast("Scores", summary["scores"]), TASKS[task].scores.scoring.primary
    plain = cast("dict[str, JsonValue]", summary["baselines"])
    logger.info("evaluate_model: held-out %s %.4f (%s)", spelt(primary), scores[primary]["value"], folder.outcome)
    return Evaluation(
        folder=folder,
        task=task,
        champion=champion,
        scores=scores,
        comparison=comparison_of(summary["comparison"]) if summary["comparison"] else None,
        chosen=chosen_of(summary["chosen"]) if summary["chosen"] else None,
        row_gains=row_gains_of(summary["row_gains"]) if summary["row_gains"] else None,
        baselines={name: comparison_of(compared) for name, compared in plain.items()},
        left_out=cast("dict[str, str]", summary["left_out"]),
        obstacle=cast("str | None", summary["obstacle"]),
        predictions_sha256=cast("str", summary["predictions_sha256"]),
        held_out=held_out_of(summary),
        target=on_target_of(summary.get("target_domain")),
        sha256=json_sha256(summary),
        costs=cast("Mapping[str, JsonValue] | None", summary.get("costs")),
        first=cast("str | None", summary.get("target")),
        beside_teacher=cast("dict[str, float] | None", summary.get("beside_teacher")),
    )
