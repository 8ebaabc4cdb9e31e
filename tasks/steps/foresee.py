"""Before step 3, foresee: whether the adapted model is to be expected to beat words alone."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.compute.threads import thread_count
from graftline.data.splitting import Side
from graftline.files import write_json
from graftline.settings import Settings
from graftline.settings.by_value import by_value
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import READING_LIBRARIES, ValidatedData, read_split, split_targets
from graftline.tasks.step import step
from graftline.tasks.step_folders import produce
from graftline.tasks.steps.baseline_settings import frozen_head_settings
from graftline.tasks.steps.baselines import FROZEN_HEAD
from graftline.tasks.steps.fine_tune import LIBRARIES
from graftline.tasks.steps.solved_head import answers_of_solved_head, resampling
from graftline.tasks.steps.untouched_base import head_features
from graftline.tasks.tracking.server import TrackedRun, client
from graftline.tasks.workspace import Workspace
from graftline.transfer.foresight import Foreseen, as_json, foreseen_of
from graftline.verdict.policy import Baseline

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftline.evaluation.metrics import Floats

STEP, SUMMARY, WORDS = "foresee", "foreseen.json", "tfidf"
# The tag of a run.
FORESEEN = "graftline.foreseen"
# What the head reads and what words say, before anything is trained: no held-out row.
SIDES: tuple[Side, ...] = ("train", "validation")

logger = logging.getLogger("graftline.foresee")


@step("foresee")
def foresee(
    workspace: Workspace,
    settings: Settings,
    wanted: Sequence[Baseline],
    data: ValidatedData,
    base: BaseModel,
    run: TrackedRun | None = None,
) -> tuple[Foreseen, ...]:
    """What the validation rows let expect of the adapted model beside words alone, once for all runs on these rows.

    Nothing where the policy does without that baseline, or without the head on the frozen base model, which shares
    the base model's pass over the rows, or where the rows are no texts. It is noted in the `run`.
    """
    if data.kind != "text" or not {WORDS, FROZEN_HEAD} <= set(wanted):
        return ()
    frozen = frozen_head_settings(settings)
    depends_on: dict[str, JsonValue] = {
        "data": data.sha256,
        "base_model": base.digest,
        "settings": by_value(frozen, "adaptation", without=["threads", "feature_gigabytes"]),
        "head_penalty": settings.adaptation.head_penalty,
        "bootstrap": settings.evaluation.bootstrap,
        "group": settings.data.group,
        "threads": thread_count(frozen.threads),
    }
    folder = produce(
        workspace,
        STEP,
        depends_on=depends_on,
        code=(__name__, *TASKS[data.task].modules("outputs", "objective_for", "scores")),
        libraries=(*LIBRARIES, "scipy", "scikit-learn", *READING_LIBRARIES[data.kind]),
        build=lambda folder: write_json(folder / SUMMARY, as_json(_foreseen(workspace, settings, data, base))),
    )
    found = foreseen_of(folder.read_json(SUMMARY))
    for one in found:
        logger.info("foreseen: %s", one.sentence)
    if found and run is not None and not run.finished:
        client().set_tag(run.run_id, FORESEEN, "; ".join(one.sentence for one in found))
    return found


def _foreseen(workspace: Workspace, settings: Settings, data: ValidatedData, base: BaseModel) -> tuple[Foreseen, ...]:
    from graftline.evaluation.bootstrap import differences

    task, frozen = TASKS[data.task], frozen_head_settings(settings)
    targets = {side: split_targets(data, side) for side in SIDES}
    outputs = task.outputs.outputs_for(data.labels, targets["train"])
    learned = {str(side): task.outputs.as_learned(outputs, of_side) for side, of_side in targets.items()}
    vectors = head_features(workspace, frozen, data, base, SIDES)
    head = answers_of_solved_head(
        settings, data, outputs, {str(side): of_side for side, of_side in vectors.items()}, learned
    )
    held = targets["validation"].numpy()
    found = differences(head, _on_words(settings, data), held, **resampling(settings, data, held))
    return (Foreseen(WORDS, task.scores.scoring.on_words, found[task.scores.scoring.primary]),)


def _on_words(settings: Settings, data: ValidatedData) -> "Floats":
    """For the validation rows, which choose its penalty, as they choose that of the head."""
    from graftline.evaluation.baselines import bag_of_words

    texts = {str(side): read_split(data, side, ["input"])["input"] for side in SIDES}
    targets: dict[str, NDArray[Any]] = {side: split_targets(data, side).numpy() for side in SIDES}
    balanced = settings.adaptation.class_weights == "balanced"
    asked = {**texts, "test": texts["validation"]}
    return bag_of_words(TASKS[data.task].scores, asked, targets, labels=data.labels, balanced=balanced)
