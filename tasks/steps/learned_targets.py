"""The targets of an adaptation: what a model learns of each row, by what modules, and by which score it is chosen."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from graftline.answers.tasks import TASKS
from graftline.tasks.data.accepted_rows import ValidatedData, places_with_target, split_targets, streamed_inputs
from graftline.tasks.steps.answer_rule import Rule
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from graftline.frozen.rows import InputRows
    from graftline.models.classifier import Classifier
    from graftline.models.outputs import Outputs
    from graftline.models.preprocessing import Preprocessor
    from graftline.training.adapted import Adapted
    from graftline.training.objective import ObjectiveFor

# The score of an epoch where there are several targets.
MEAN_OF_TARGETS = "mean_of_targets"

logger = logging.getLogger("graftline.fine_tune")


def score_of(data: ValidatedData) -> str:
    """The score by which the best epoch is chosen: the target's main one, or the mean of those of all targets."""
    return MEAN_OF_TARGETS if data.further else TASKS[data.task].scores.scoring.primary


def learning_modules(data: ValidatedData) -> tuple[str, ...]:
    """The modules of the targets' tasks that a model learns by."""
    tasks = [TASKS[one.task] for one in (data, *data.targets.values())]
    found = {module for task in tasks for module in task.modules("outputs", "objective_for")}
    fitted = {part.__module__ for task in tasks for part in (task.scores.temperature, task.scores.thresholds)}
    return (*sorted(found), *sorted(fitted))


def outputs_for_targets(data: ValidatedData) -> "Outputs":
    """Those of a new model for these targets."""
    from graftline.models.outputs import FurtherOutputs

    first = TASKS[data.task].outputs.outputs_for(data.labels, split_targets(data, "train"))
    further = [FurtherOutputs(name, outputs_for_targets(own)) for name, own in data.targets.items()]
    return replace(first, further=tuple(further)) if further else first


def objective_for_targets() -> "ObjectiveFor":
    """The loss of each target by its task, together."""
    from graftline.training.several import ObjectiveOfTargets

    return ObjectiveOfTargets({name: task.objective_for for name, task in TASKS.items()})


def rows_to_learn(
    workspace: Workspace, data: ValidatedData, split: str, preprocessor: "Preprocessor", outputs: "Outputs"
) -> "InputRows":
    """The rows of one side, with their targets as numbers; of several targets also those that lack some."""
    from graftline.frozen.rows import InputRows

    if not data.further:
        targets = TASKS[data.task].outputs.as_learned(outputs, split_targets(data, split))
        return InputRows(preprocessor, preprocessor.encode(streamed_inputs(workspace, data, split)), targets)
    encoded = preprocessor.encode(streamed_inputs(workspace, data.with_all_rows, split))
    return InputRows(preprocessor, encoded, _targets_beside(data, split, outputs, rows=len(encoded)))


def _targets_beside(data: ValidatedData, split: str, outputs: "Outputs", *, rows: int) -> "Tensor":
    import torch

    from graftline.models.several import beside_one_another

    each = [data, *data.targets.values()]
    there = []
    for one in each:
        has_it = torch.zeros(rows, dtype=torch.bool)
        has_it[places_with_target(one, split)] = True
        there.append(has_it)
    kinds = {name: task.outputs for name, task in TASKS.items()}
    return beside_one_another(outputs, [split_targets(one, split) for one in each], there, kinds)


def calibrated(
    outputs: "Outputs",
    model: "Classifier",
    adapted: "Adapted",
    validation: "InputRows",
    data: ValidatedData,
    batch_size: int,
    rule: Rule,
) -> "Outputs":
    """The outputs with the divisor of each target's, fitted on answers for the validation rows that have the target.

    They are those of the model before it learned from these rows. What it answers from the probabilities follows from
    the same rows, by the `rule`.
    """
    from graftline.models.outputs import parts_of
    from graftline.models.several import learned_of
    from graftline.training.validation_score import predict

    held = adapted.validation_outputs
    if held is None:
        # In full precision and through the whole model: as it will be served.
        held = predict(model, validation, batch_size=batch_size)
    fitted = []
    each = [data, *data.targets.values()]
    for part, learned, one in zip(parts_of(outputs), learned_of(outputs, validation.targets), each, strict=True):
        own, targets = learned.of(held)[:, part.columns], split_targets(one, "validation")
        temperature = TASKS[one.task].scores.temperature(own.double().numpy(), targets.numpy())
        of = f"{part.name}: " if part.name else ""
        logger.info("%stemperature %.3f, fitted on %d validation rows", of, temperature, len(own))
        there = replace(part, outputs=replace(part.outputs, temperature=temperature))
        fitted.append(rule(there, own, targets))
    further = [replace(one, outputs=own) for one, own in zip(outputs.further, fitted[1:], strict=True)]
    return replace(fitted[0], further=tuple(further))
