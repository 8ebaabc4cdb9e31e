"""A model beside the teacher that it learned from: how often it answers the same, how much faster, how much smaller."""

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from graftline.files import files_below
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.steps.behaviour import Examined
from graftline.tasks.steps.fine_tune import Checkpoint
from graftline.tasks.steps.teacher import fetch_teacher, teaching
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.evaluation.metrics import Floats
    from graftline.models.predictor import Predictor
    from graftline.models.preprocessing import Raw

# One at a time, as requests come, in turns; the first of each sets things up.
TIMED_INPUTS = 33


def beside_teacher(
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    checkpoint: Checkpoint,
    candidate: Examined,
    theirs: "Floats",
) -> Mapping[str, float]:
    """The share of held-out rows with the same answer, and how many times as fast and as small the candidate is.

    `theirs` are the teacher's predictions. Speeds are measured on this machine, input by input in turns.
    """
    teacher = fetch_teacher.fn(workspace, settings, data)
    assert teacher is not None  # there are predictions of it
    same = candidate.task_scores.is_same(theirs, candidate.predictions, candidate.predictor.outputs.spread)
    own, of_teacher = _seconds([candidate.predictor, teaching(teacher, data)], candidate.raws[:TIMED_INPUTS])
    own_bytes = sum(path.stat().st_size for path in files_below(checkpoint.model))
    return {
        "same": float(same.mean()),
        "times_as_fast": of_teacher / own,
        "times_as_small": teacher.bytes / own_bytes,
    }


def _seconds(predictors: "Sequence[Predictor]", raws: "Sequence[Raw]") -> list[float]:
    """The median time that each takes for an input."""
    taken: list[list[float]] = [[] for _ in predictors]
    for raw in raws:
        for predictor, seconds in zip(predictors, taken, strict=True):
            began = time.perf_counter()
            predictor.predict([raw])
            seconds.append(time.perf_counter() - began)
    return [median(seconds[1:] or seconds) for seconds in taken]
