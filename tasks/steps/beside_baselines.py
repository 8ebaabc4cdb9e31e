"""A part of step 4: the candidate beside the baselines, on rows, in biases, and in rows to look at."""

from dataclasses import asdict
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from graftline.settings import Settings
from graftline.tasks.steps.adapting import MODEL
from graftline.tasks.steps.baseline_settings import is_solved_head
from graftline.tasks.steps.baselines import FROZEN_HEAD, MAJORITY, Baselines
from graftline.tasks.steps.behaviour import Examined, FrozenModel
from graftline.tasks.steps.held_out import Scorer

if TYPE_CHECKING:
    from graftline.evaluation.examples import Rows
    from graftline.evaluation.metrics import Floats


def frozen_model(settings: Settings, candidate: Examined, baselines: Baselines) -> FrozenModel | None:
    """The model that biases were inherited from; None where the policy leaves that baseline out."""
    from graftline.answers.predicting import predictor_of

    if is_solved_head(settings.adaptation):
        return FrozenModel(candidate.predictions, candidate.predictor.predict)
    rival = baselines.rivals.get(FROZEN_HEAD)
    if rival is None:
        return None
    return FrozenModel(rival.predictions(), lambda raws: predictor_of(rival.folder.path / MODEL).predict(raws))


def against_baselines(baselines: Baselines, predictions: "Floats", scores: Scorer) -> dict[str, JsonValue]:
    """The candidate paired with each on rows, and why others are missing."""
    majority = baselines.rivals[MAJORITY]
    return {
        "majority": {"label": majority.answers, "scores": scores.of(majority.predictions())},
        "baselines": {
            name: scores.compare(predictions, rival.predictions(), rival.against)
            for name, rival in baselines.rivals.items()
        },
        "left_out": {**baselines.left_out},
    }


def examples_beside(
    settings: Settings,
    rows: "Rows",
    predictions: "Floats",
    champion: "tuple[str, Floats | None]",
    scores: Scorer,
    baselines: Baselines,
) -> JsonValue:
    """Rows to look at, beside the champion where there is one, else beside the best baseline."""
    from graftline.evaluation.examples import examples_of

    most = settings.evaluation.examples
    if not most:
        return None
    against, theirs = champion
    if theirs is None:
        against, theirs = _best_baseline(baselines, scores)
    found = examples_of(scores.task_scores, rows, predictions, theirs, against=against, most=most)
    return cast("JsonValue", asdict(found))


def _best_baseline(baselines: Baselines, scores: Scorer) -> "tuple[str, Floats]":
    primary = scores.task_scores.scoring.primary
    said = {name: rival.predictions() for name, rival in baselines.rivals.items()}
    reached = {name: scores.value(primary, predictions) for name, predictions in said.items()}
    best = max(reached, key=lambda name: reached[name])
    return baselines.rivals[best].against, said[best]
