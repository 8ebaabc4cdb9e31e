"""The list of all tasks of prediction. A new one is a module of its name in each room, and its entry here."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace

import graftline.data.multi_label
import graftline.data.regression
import graftline.data.single_label
import graftline.evaluation.multi_label
import graftline.evaluation.regression
import graftline.evaluation.single_label
import graftline.models.multi_label
import graftline.models.regression
import graftline.models.single_label
import graftline.pages.multi_label
import graftline.pages.regression
import graftline.pages.single_label
import graftline.training.multi_label
import graftline.training.regression
import graftline.training.single_label
from graftline.data.target_kind import TargetKind
from graftline.evaluation.task_scores import TaskScores
from graftline.models.output_kind import OutputKind
from graftline.pages.answers_shown import AnswersShown
from graftline.settings import DataSettings, Task
from graftline.training.objective import ObjectiveFor


@dataclass(frozen=True)
class PredictionTask:
    """All that sets one task apart from the others, made of what lives where its kind lives."""

    targets: TargetKind
    """The target column's contents and their faults."""
    outputs: OutputKind
    """Targets as numbers, outputs as answers."""
    objective_for: ObjectiveFor
    """The loss that training minimises, and the score that chooses the best epoch."""
    scores: TaskScores
    """Scores of held-out rows, and comparisons on them."""
    shown: AnswersShown
    """The words of report and model card."""

    def modules(self, *parts: str) -> tuple[str, ...]:
        """The modules whose functions these parts are: a step that uses the parts depends on this code."""
        found = {module for part in parts for module in _modules_of(getattr(self, part))}
        return tuple(sorted(found))


def _modules_of(part: object) -> set[str]:
    values = [getattr(part, field.name) for field in fields(part)] if is_dataclass(part) else [part]
    return {value.__module__ for value in values if callable(value)}


TASKS: Mapping[Task, PredictionTask] = {
    "single_label": PredictionTask(
        graftline.data.single_label.TARGETS,
        graftline.models.single_label.OUTPUTS,
        graftline.training.single_label.objective_for,
        graftline.evaluation.single_label.SCORES,
        graftline.pages.single_label.SHOWN,
    ),
    "multi_label": PredictionTask(
        graftline.data.multi_label.TARGETS,
        graftline.models.multi_label.OUTPUTS,
        graftline.training.multi_label.objective_for,
        graftline.evaluation.multi_label.SCORES,
        graftline.pages.multi_label.SHOWN,
    ),
    "regression": PredictionTask(
        graftline.data.regression.TARGETS,
        graftline.models.regression.OUTPUTS,
        graftline.training.regression.objective_for,
        graftline.evaluation.regression.SCORES,
        graftline.pages.regression.SHOWN,
    ),
}


def targets_in(settings: DataSettings) -> TargetKind:
    """What is expected of the targets of data with these settings."""
    further = {target.name: TASKS[target.task].targets for target in settings.further}
    return replace(TASKS[settings.task].targets, further=further)
