"""A part of step 4: the champion, asked about the rows that the candidate is scored on."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import JsonValue

from graftline.compute.threads import thread_count
from graftline.errors import RegistryRefusedError
from graftline.settings import Settings
from graftline.settings.further_targets import further_target_of
from graftline.tasks.data.accepted_rows import ValidatedData, places_with_target, questions
from graftline.tasks.registry.looks import Choice
from graftline.tasks.registry.manifest import judged_files
from graftline.tasks.serving.trial import score_in_fresh_process
from graftline.tasks.steps.held_out import Scorer
from graftline.tasks.tracking.model_files import ChangedFilesError
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.evaluation.metrics import Floats


# The settings that name a model's targets, as those of a run are logged.
FIRST_TARGET, FURTHER_TARGETS = "data.target", "data.targets"


@dataclass(frozen=True)
class Champion:
    """The registered version that a candidate must beat."""

    model: str
    version: int
    choice: Choice | None = field(default=None, compare=False)
    """The rows that it was chosen by; none of a first model."""

    @property
    def uri(self) -> str:
        return f"models:/{self.model}/{self.version}"


def champions_predictions(
    workspace: Workspace, settings: Settings, data: ValidatedData, champion: Champion | None
) -> "tuple[Floats | None, str | None]":
    """What the champion says of the same rows; or why it could not be asked, if there is one that has this target."""
    from graftline.evaluation.comparison import aligned

    if champion is None:
        return None, None
    files = judged_files(workspace, champion.model, champion.version)
    try:
        asked, threads = questions(workspace, data.with_all_rows, "test"), thread_count(settings.adaptation.threads)
        answered = score_in_fresh_process(workspace, champion.uri, asked, threads=threads, files=files)
    except ChangedFilesError:
        raise  # it is not the champion that does not answer
    except RegistryRefusedError as error:
        return None, f"champion version {champion.version} could not be scored: {error}"
    scored = answered.of_target(data.target)
    if scored is None:  # it was made before this target was one
        return None, None
    scored = scored.at(places_with_target(data, "test"))
    if scored.task != data.task:
        return None, (
            f"champion version {champion.version} could not be scored: its task is {scored.task}, not"
            f" {data.task}; choose another registry.model"
        )
    return (aligned(scored.predictions, scored.labels, data.labels) if data.labels else scored.predictions), None


def chosen_beside(
    champion: Champion | None, row_ids: list[str], predictions: "Floats | None", scores: Scorer
) -> JsonValue:
    """How it does on rows that it was not chosen by, if it was chosen by some and could be scored."""
    from graftline.evaluation.row_gains import not_among
    from graftline.evaluation.selection import LEAST_ROWS, corrected_gain

    if champion is None or champion.choice is None or predictions is None:
        return None
    look, others = champion.choice.look, not_among(champion.choice.gains, row_ids, scores.groups)
    enough = int(others.sum()) >= LEAST_ROWS
    return {
        "rows": look.rows,
        "gain": look.gain,
        "corrected": corrected_gain(look.gain, look.error, level=look.level) if champion.choice.by_verdict else None,
        "others": int(others.sum()),
        "scores": scores.on(others).of(predictions[others]) if enough else None,
    }


def dropped_targets(now: Mapping[str, str], then: Mapping[str, str]) -> list[str]:
    """The further targets that a model with the logged settings `then` answers, and one with those of `now` does not.

    A first target of another name may be the same one in a column that was renamed.
    """
    answered = {now.get(FIRST_TARGET), *_further(now)}
    return [name for name in _further(then) if name not in answered]


def _further(logged: Mapping[str, str]) -> list[str]:
    """MLflow keeps a list as Python writes it; releases before and models from elsewhere have none."""
    return [further_target_of(line).name for line in ast.literal_eval(logged.get(FURTHER_TARGETS, "[]"))]
