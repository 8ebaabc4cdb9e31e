"""A part of step 4: what thresholds for each group would bring on the held-out rows, and what they would cost."""

from typing import TYPE_CHECKING

from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import ValidatedData, raw_inputs, read_split, split_targets
from graftline.tasks.steps.behaviour import Examined
from graftline.tasks.steps.held_out import Scorer
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.behaviour.group_thresholds import Constraint, ThresholdsOfGroups
    from graftline.evaluation.metrics import Floats


def thresholds_of(
    workspace: Workspace, settings: Settings, data: ValidatedData, candidate: Examined, scores: Scorer
) -> "tuple[list[ThresholdsOfGroups], list[str]]":
    """For each column of groups, if the settings ask for it. Returns: also what could not be set, in sentences."""
    constraint = settings.evaluation.group_thresholds
    if constraint == "none":
        return [], []
    if len(data.labels) != 2:
        seen = f"thresholds for each group: one parts two labels, and these data have {len(data.labels)}"
        return [], [seen]
    predicted = candidate.predictor.predict(raw_inputs(workspace, data, "validation"))
    found, left_out = [], []
    for name in settings.evaluation.groups:
        one = _thresholds(settings, data, candidate, predicted, scores, name, constraint)
        if one is None:
            left_out.append(f"{name}: fewer than two groups have enough validation rows of both labels for thresholds")
        else:
            found.append(one)
    return found, left_out


def _thresholds(
    settings: Settings,
    data: ValidatedData,
    candidate: Examined,
    predicted: "Floats",
    scores: Scorer,
    name: str,
    constraint: "Constraint",
) -> "ThresholdsOfGroups | None":
    from graftline.behaviour.bias import group_disparities
    from graftline.behaviour.group_thresholds import GroupedRows, ThresholdsOfGroups, answers_by_group
    from graftline.evaluation.bootstrap import differences

    task_scores, evaluation = candidate.task_scores, settings.evaluation
    column = f"slice.{name}"
    groups = {side: read_split(data, side, [column])[column] for side in ("validation", "test")}
    answers, learned_from = answers_by_group(
        GroupedRows(groups["validation"], predicted),
        split_targets(data, "validation").numpy(),
        GroupedRows(groups["test"], candidate.predictions),
        constraint=constraint,
        seed=evaluation.seed,
    )
    if not learned_from:
        return None
    plain, targets = candidate.predictions, candidate.targets
    disparities = group_disparities(
        task_scores,
        name,
        groups["test"],
        answers,
        targets,
        labels=data.labels,
        frozen=plain,
        resamples=evaluation.bootstrap,
        seed=evaluation.seed,
        together=scores.places,
    )
    cost = differences(
        answers,
        plain,
        targets,
        of=task_scores.metrics,
        resamples=evaluation.bootstrap,
        seed=evaluation.seed,
        strata=task_scores.strata(targets),
        groups=scores.places,
    )
    return ThresholdsOfGroups(name, constraint, learned_from, disparities, cost[task_scores.scoring.primary])
