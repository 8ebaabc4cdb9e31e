"""A part of step 3: the rule by which a model answers from its probabilities, where the settings ask for one."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from graftline.answers.tasks import TASKS
from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.costs import cost_of
from graftline.wording import shortened

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from graftline.evaluation.metrics import Floats
    from graftline.models.outputs import Outputs, Part

# From one target's part, its outputs for the validation rows that have the target, and these rows' targets as they are
# read, to its outputs with the rule.
Rule = Callable[["Part", "Tensor", "Tensor"], "Outputs"]
SHOWN_CHARACTERS = 500

logger = logging.getLogger("graftline.fine_tune")


def rule_of(settings: AdaptationSettings, costs: Sequence[str]) -> Rule:
    """The rule that `adaptation.answers` names; `costs` are those of `evaluation.costs`, which the first target has."""

    def least_cost(part: "Part", _outputs: "Tensor", _targets: "Tensor") -> "Outputs":
        from graftline.evaluation.costs import cost_matrix

        if part.name is not None:
            return part.outputs
        matrix = cost_matrix([cost_of(line) for line in costs], part.outputs.labels)
        return replace(part.outputs, costs=tuple(map(tuple, matrix.tolist())))

    return {"likeliest": as_usual, "thresholds": _with_thresholds, "least_cost": least_cost}[settings.answers]


def as_usual(part: "Part", _outputs: "Tensor", _targets: "Tensor") -> "Outputs":
    """No rule: the likeliest label, or each from 0.5 on."""
    return part.outputs


def _with_thresholds(part: "Part", outputs: "Tensor", targets: "Tensor") -> "Outputs":
    task, of = TASKS[part.outputs.task], f"{part.name}: " if part.name else ""
    probabilities = task.outputs.answers(part.outputs, outputs).numpy()
    found = replace(part.outputs, thresholds=task.scores.thresholds(probabilities, targets.numpy()))
    logger.info("%sthresholds, tuned on %d validation rows: %s", of, len(outputs), _named(found))
    return found


def by_thresholds(outputs: "Outputs", chosen_by: "Floats", targets: "NDArray[Any]", asked: "Floats") -> "Floats":
    """Probabilities of the rows that are `asked`, with the answers by thresholds that other rows choose, whose targets
    are known: (rows, outputs). As they are where the task has no labels to give."""
    from graftline.evaluation.given import with_answers

    task = TASKS[outputs.task]
    found = replace(outputs, thresholds=task.scores.thresholds(chosen_by, targets))
    return with_answers(asked, task.outputs.given(found, asked)) if found.thresholds else asked


def rule_in_words(outputs: "Outputs", costs: Sequence[str]) -> str | None:
    """Which answers the model gives, for a reader; None where they are the usual ones."""
    from graftline.models.outputs import parts_of

    if outputs.costs:
        return f"the label of the least expected cost, by {', '.join(costs)}"
    tuned = [part for part in parts_of(outputs) if part.outputs.thresholds]
    named = [f"{part.name}: {_named(part.outputs)}" if part.name else _named(part.outputs) for part in tuned]
    return shortened(f"by thresholds: {'; '.join(named)}", SHOWN_CHARACTERS) if named else None


def _named(outputs: "Outputs") -> str:
    return ", ".join(f"{label} {each:.3f}" for label, each in zip(outputs.labels, outputs.thresholds, strict=True))
