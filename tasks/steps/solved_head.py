"""The head solved on what a base model gives of the training rows, judged by the validation rows."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from graftline.answers.tasks import TASKS
from graftline.data.splitting import Side
from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import GROUP, ValidatedData, read_split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from graftline.evaluation.metrics import Floats, Integers
    from graftline.models.outputs import Outputs
    from graftline.training.linear_head import SolvedHead
    from graftline.training.objective import Objective, ObjectiveFor


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
    return objective_as_set(settings, data)(outputs, targets)


def objective_as_set(settings: Settings, data: ValidatedData) -> "ObjectiveFor":
    """What makes that loss, as the settings have it."""
    chosen = settings.adaptation
    return partial(
        TASKS[data.task].objective_for,
        balanced=chosen.class_weights == "balanced",
        adjusted=chosen.class_weights == "logit_adjusted",
        label_smoothing=chosen.label_smoothing,
    )


def resampling(
    settings: Settings, data: ValidatedData, targets: "NDArray[Any]", sides: Sequence[Side] = ("validation",)
) -> dict[str, Any]:
    """How the task's scores on the rows of these sides are made and resampled, as the evaluation of a run does it."""
    scores, evaluation = TASKS[data.task].scores, settings.evaluation
    return {
        "of": scores.metrics,
        "resamples": evaluation.bootstrap,
        "seed": evaluation.seed,
        "strata": scores.strata(targets),
        "groups": groups_of(settings, data, *sides),
    }


def groups_of(settings: Settings, data: ValidatedData, *sides: Side) -> "Integers | None":
    """The groups of the rows of these sides as numbers, one side after the other, if the data have groups."""
    if settings.data.group is None:
        return None
    import numpy as np

    return np.unique(
        [group for side in sides for group in read_split(data, side, [GROUP])[GROUP]], return_inverse=True
    )[1]
