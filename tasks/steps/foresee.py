"""Before step 3, foresee: whether the adapted model is to be expected to beat words alone."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.compute.threads import thread_count
from graftline.data.splitting import Side
from graftline.files import write_json
from graftline.settings import Settings
from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.by_value import by_value
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData, split_targets
from graftline.tasks.step import step
from graftline.tasks.step_folders import produce
from graftline.tasks.steps.answer_rule import by_thresholds
from graftline.tasks.steps.baseline_settings import frozen_head_settings
from graftline.tasks.steps.baselines import FROZEN_HEAD
from graftline.tasks.steps.feature_stores import libraries_for
from graftline.tasks.steps.fine_tune import LIBRARIES
from graftline.tasks.steps.solved_head import answers_of_solved_head, groups_of, objective_as_set, resampling
from graftline.tasks.steps.untouched_base import head_features
from graftline.tasks.steps.words_alone import LABELLED, LabelledTexts, answers_on_words
from graftline.tasks.tracking.server import TrackedRun, client
from graftline.tasks.workspace import Workspace
from graftline.transfer.foresight import Foreseen, as_json, foreseen_of
from graftline.verdict.policy import Baseline

if TYPE_CHECKING:
    from torch import Tensor

    from graftline.evaluation.metrics import Floats
    from graftline.models.outputs import Outputs

STEP, SUMMARY, WORDS = "foresee", "foreseen.json", "tfidf"
# The tag of a run.
FORESEEN = "graftline.foreseen"
# With fewer validation rows their interval says next to nothing, and all labelled rows are asked, in folds: of 15 cases
# that was right in 14 and open in 1, where validation rows were right and wrong in one each (docs/measurements).
ENOUGH_ROWS = 500
BY_FOLDS = "all labelled rows, out of five folds"

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
    """What labelled rows let expect of the adapted model beside words alone, once for all runs on these rows.

    No held-out row is asked. Nothing where the policy does without that baseline, or without the head on the frozen
    base model, which shares the base model's pass over the rows, or where the rows are no texts. It is noted in the
    `run`.
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
        code=(__name__, answers_on_words.__module__, *TASKS[data.task].modules("outputs", "objective_for", "scores")),
        libraries=(*LIBRARIES, "scipy", "scikit-learn", *libraries_for(frozen, data.kind)),
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
    outputs = task.outputs.outputs_for(data.labels, split_targets(data, "train"))
    vectors = head_features(workspace, frozen, data, base, LABELLED)
    few = len(vectors["validation"]) < ENOUGH_ROWS and _has_folds(settings, data)
    asked: Sequence[Side] = LABELLED if few else ("validation",)
    head, words = (_out_of_folds if few else _on_validation_rows)(settings, data, outputs, vectors)
    held = LabelledTexts.of(data, *asked).targets.numpy()
    if frozen.answers == "thresholds":
        head, words = (by_thresholds(outputs, said, held, said) for said in (head, words))
    found = differences(head, words, held, **resampling(settings, data, held, asked))
    lead = found[task.scores.scoring.primary]
    return (Foreseen(WORDS, task.scores.scoring.on_words, lead, BY_FOLDS if few else Foreseen.judged_by),)


def _has_folds(settings: Settings, data: ValidatedData) -> bool:
    """Whether each fold has rows: a group is in one of them as a whole."""
    from graftline.transfer.wrong_labels import FOLDS

    groups = groups_of(settings, data, *LABELLED)
    rows = sum(data.split_rows[side] for side in LABELLED)
    return (rows if groups is None else len(set(groups.tolist()))) >= FOLDS


def _on_validation_rows(
    settings: Settings, data: ValidatedData, outputs: "Outputs", vectors: "Mapping[Side, Tensor]"
) -> "tuple[Floats, Floats]":
    """What head and words say of the validation rows, which choose the penalty of both."""
    train, validation = (LabelledTexts.of(data, side) for side in LABELLED)
    learned = {"train": train.targets, "validation": validation.targets}
    as_learned = {side: TASKS[data.task].outputs.as_learned(outputs, targets) for side, targets in learned.items()}
    head = answers_of_solved_head(settings, data, outputs, {str(side): vectors[side] for side in vectors}, as_learned)
    return head, answers_on_words(data, train, validation, validation.texts, _usual(settings))


def _out_of_folds(
    settings: Settings,
    data: ValidatedData,
    outputs: "Outputs",
    vectors: "Mapping[Side, Tensor]",
) -> "tuple[Floats, Floats]":
    """What both say of all labelled rows, each of which is asked of a head and of words that did not learn from it."""
    import numpy as np
    import torch

    from graftline.transfer.wrong_labels import FOLDS, folds_of, out_of_fold

    rows, groups = LabelledTexts.of(data, *LABELLED), groups_of(settings, data, *LABELLED)
    clusters = np.arange(len(rows.texts)) if groups is None else groups
    folds = folds_of(clusters, [str(target) for target in rows.targets.tolist()], settings.evaluation.seed)
    head = out_of_fold(
        torch.cat([vectors[side] for side in LABELLED]),
        rows.targets,
        folds,
        outputs=outputs,
        kind=TASKS[data.task].outputs,
        objective_for=objective_as_set(settings, data),
        penalty=settings.adaptation.head_penalty or None,
    ).probabilities
    words = np.zeros_like(head)
    for fold in range(FOLDS):
        choose = folds == (fold + 1) % FOLDS
        teach, chosen, judged = (
            rows.at(np.flatnonzero(some)) for some in (~choose & (folds != fold), choose, folds == fold)
        )
        words[folds == fold] = answers_on_words(data, teach, chosen, judged.texts, _usual(settings))
    return head, words


def _usual(settings: Settings) -> AdaptationSettings:
    """Thresholds come later, for both alike."""
    return settings.adaptation.model_copy(update={"answers": "likeliest"})
