"""What the scores say of a base model's vectors: before a training, from training and validation rows alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from graftline.answers.tasks import TASKS
from graftline.settings import Settings, Task
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.ranking.features import Depth, SeenBase, see
from graftline.tasks.steps.solved_head import answers_of_solved_head, groups_of, resampling
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftline.evaluation.bootstrap import Difference, Score
    from graftline.evaluation.metrics import Floats, Integers

ScoreName = Literal["head", "logme", "h_score", "neighbours"]
SCORES: Mapping[ScoreName, str] = {
    "head": "solved head, validation rows",
    "logme": "LogME",
    "h_score": "regularised H-score",
    "neighbours": "neighbours",
}
# What a task has no such score of, and why.
NOT_OF: Mapping[Task, Mapping[ScoreName, str]] = {
    "regression": {"h_score": "asks how far apart classes lie, and numbers are none"}
}


@dataclass(frozen=True)
class DepthScores:
    """The scores of one depth of one base model. Higher is better in all of them."""

    depth: str
    block: str | None
    head: "Score"
    """The task's primary score of a head solved on the training rows, on the validation rows."""
    others: Mapping[ScoreName, float]
    predictions: "Floats"
    """That head's, for the validation rows."""

    def of(self, name: ScoreName) -> float | None:
        """None where the task has no such score."""
        return self.head.value if name == "head" else self.others.get(name)


@dataclass(frozen=True)
class ScoredBase:
    """A base model with the scores of its depths; the head's depth is the last."""

    seen: SeenBase
    depths: tuple[DepthScores, ...]

    @property
    def uri(self) -> str:
        return self.seen.base.uri

    @property
    def last(self) -> DepthScores:
        return self.depths[-1]


@dataclass(frozen=True)
class RankedOn:
    """What all base models of a ranking share."""

    workspace: Workspace
    settings: Settings
    data: ValidatedData


def see_and_score(on: RankedOn, base: BaseModel) -> ScoredBase:
    """All scores of a base model: a piece of work that knows nothing of the others."""
    return score_base(on.settings, on.data, see(on.workspace, on.settings, on.data, base))


def score_base(settings: Settings, data: ValidatedData, seen: SeenBase) -> ScoredBase:
    """All scores of all depths."""
    groups = groups_of(settings, data, "train")
    return ScoredBase(seen, tuple(_scores(settings, data, seen, depth, groups) for depth in seen.depths))


def difference(
    settings: Settings, data: ValidatedData, seen: SeenBase, one: DepthScores, other: DepthScores
) -> "Difference":
    """How much better the first's solved head is than the other's, on the same validation rows."""
    from graftline.evaluation.bootstrap import differences

    scores, targets = TASKS[data.task].scores, seen.targets["validation"].numpy()
    primary = scores.scoring.primary
    return differences(
        one.predictions, other.predictions, targets, **resampling(settings, data, targets)
    )[primary]  # fmt: skip


def _scores(
    settings: Settings, data: ValidatedData, seen: SeenBase, depth: Depth, groups: "Integers | None"
) -> DepthScores:
    from graftline.evaluation.bootstrap import scores

    predictions = answers_of_solved_head(settings, data, seen.outputs, depth.vectors, seen.learned)
    targets = seen.targets["validation"].numpy()
    found = scores(predictions, targets, **resampling(settings, data, targets))
    features, columns = depth.vectors["train"].numpy(), seen.learned["train"].numpy()
    others = _OF_TASK[data.task](features, columns, len(seen.outputs.labels), groups)
    return DepthScores(depth.name, depth.block, found[TASKS[data.task].scores.scoring.primary], others, predictions)


def _single_label(
    features: "NDArray[Any]", classes: "NDArray[Any]", labels: int, groups: "Integers | None"
) -> dict[ScoreName, float]:
    import numpy as np

    from graftline.transfer.evidence import log_evidence
    from graftline.transfer.neighbours import accuracy, answers_of_neighbours
    from graftline.transfer.separation import h_score

    columns = np.eye(labels)[classes]
    return {
        "logme": log_evidence(features, columns),
        "h_score": h_score(features, classes),
        "neighbours": accuracy(answers_of_neighbours(features, columns, groups), classes),
    }


def _multi_label(
    features: "NDArray[Any]", columns: "NDArray[Any]", _labels: int, groups: "Integers | None"
) -> dict[ScoreName, float]:
    from graftline.transfer.evidence import log_evidence
    from graftline.transfer.neighbours import answers_of_neighbours, mean_area
    from graftline.transfer.separation import h_score_of_labels

    return {
        "logme": log_evidence(features, columns),
        "h_score": h_score_of_labels(features, columns),
        "neighbours": mean_area(answers_of_neighbours(features, columns, groups), columns),
    }


def _regression(
    features: "NDArray[Any]", columns: "NDArray[Any]", _labels: int, groups: "Integers | None"
) -> dict[ScoreName, float]:
    from graftline.transfer.evidence import log_evidence
    from graftline.transfer.neighbours import answers_of_neighbours, explained

    return {
        "logme": log_evidence(features, columns),
        "neighbours": explained(answers_of_neighbours(features, columns, groups), columns),
    }


_OF_TASK = {"single_label": _single_label, "multi_label": _multi_label, "regression": _regression}


def best(scored: Sequence[ScoredBase], name: ScoreName) -> ScoredBase:
    """By a score of the vectors that a head reads; of equal ones the faster base model."""

    def goodness(one: ScoredBase) -> tuple[float, float]:
        score = one.last.of(name)
        return float("-inf") if score is None else score, one.seen.rows_per_second

    return max(scored, key=goodness)
