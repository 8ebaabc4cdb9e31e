"""The head solved on what a base model gives of the training rows, judged by the validation rows."""

from typing import TYPE_CHECKING, Any

from graftline.answers.tasks import TASKS
from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import GROUP, ValidatedData, read_split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from graftline.evaluation.metrics import Floats, Integers
    from graftline.models.outputs import Outputs
    from graftline.training.linear_head import SolvedHead
    from graftline.training.objective import Objective


def answers_of_solved_head(
    settings: Settings,
    data: ValidatedData,
    outputs: "Outputs",
    vectors: "Mapping[str, Tensor]",
    learned: "Mapping[str, Tensor]",
) -> "Floats":
    """For the validation rows, of the head that `feature_extraction` solves, from the training rows alone.

    `vectors` and the targets as they are `learned`, by split.
    """
    solved = solved_head(settings, data, outputs, vectors, learned)
    return TASKS[data.task].outputs.answers(outputs, solved.validation_outputs).numpy()


def solved_head(
    settings: Settings,
    data: ValidatedData,
    outputs: "Outputs",
    vectors: "Mapping[str, Tensor]",
    learned: "Mapping[str, Tensor]",
) -> "SolvedHead":
    """That head itself."""
    from graftline.training.linear_head import solve_head

    return solve_head(
        vectors["train"],
        learned["train"],
        validation=(vectors["validation"], learned["validation"]),
        outputs=outputs.width,
        objective=training_objective(settings, data, outputs, learned["train"]),
        penalty=settings.adaptation.head_penalty or None,
    )


def training_objective(settings: Settings, data: ValidatedData, outputs: "Outputs", targets: "Tensor") -> "Objective":
    """The loss of the task, for training rows with these targets as they are learned."""
    chosen = settings.adaptation
    return TASKS[data.task].objective_for(
        outputs,
        targets,
        balanced=chosen.class_weights == "balanced",
        adjusted=chosen.class_weights == "logit_adjusted",
        label_smoothing=chosen.label_smoothing,
    )


def resampling(settings: Settings, data: ValidatedData, targets: "NDArray[Any]") -> dict[str, Any]:
    """How the task's scores on the validation rows are made and resampled, as the evaluation of a run does it."""
    scores, evaluation = TASKS[data.task].scores, settings.evaluation
    return {
        "of": scores.metrics,
        "resamples": evaluation.bootstrap,
        "seed": evaluation.seed,
        "strata": scores.strata(targets),
        "groups": groups_of(settings, data, "validation"),
    }


def groups_of(settings: Settings, data: ValidatedData, split: str) -> "Integers | None":
    """The groups of the rows as numbers, if the data have groups."""
    if settings.data.group is None:
        return None
    import numpy as np

    return np.unique(read_split(data, split, [GROUP])[GROUP], return_inverse=True)[1]
