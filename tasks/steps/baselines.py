"""Between steps 3 and 4, baselines: what else the held-out rows could get, once per data and base model."""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.compute.threads import thread_count
from graftline.files import write_json
from graftline.settings import Settings
from graftline.settings.adaptation import AdaptationSettings, Answers
from graftline.settings.by_value import by_value
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import READING_LIBRARIES, ValidatedData, raw_inputs, read_split, split_targets
from graftline.tasks.progress import ProgressBar
from graftline.tasks.step import step
from graftline.tasks.step_folders import Outcome, StepFolder, produce
from graftline.tasks.steps.adapting import CHECKPOINTS, MODEL, adapt_base
from graftline.tasks.steps.fine_tune import LIBRARIES
from graftline.tasks.steps.teacher import taught_predictions
from graftline.tasks.steps.words_alone import LABELLED, LabelledTexts, answers_on_words
from graftline.tasks.workspace import Workspace
from graftline.verdict.gate import TEACHER
from graftline.verdict.policy import BASELINES, USUAL_BASELINES, Baseline

if TYPE_CHECKING:
    from graftline.evaluation.metrics import Floats

STEP = "baselines"
SUMMARY, PREDICTIONS, GIVEN = "baseline.json", "predictions.npy", "given.npy"
MAJORITY, FROZEN_HEAD = "majority", "frozen_head"
# The same training of the same base model for one of several targets.
SINGLE_TASK = "single_task"
# The settings in common with the adaptation: what is read of a row, what an error costs, how it is computed.
SHARED = (
    "max_tokens", "max_seconds", "augmentation", "views", "block_pattern", "class_weights", "label_smoothing",
    "device", "precision", "threads",
)  # fmt: skip
# Each random weight has its place to find, so ten times the usual rate of fine-tuning: AdamW's steps are as large as
# the rate, whatever the gradients. It lies between those that the originals began with: 1e-4 for BERT (arXiv
# 1810.04805), 6e-4 for RoBERTa (arXiv 1907.11692).
SCRATCH_RATE = 3e-4
MOST_EPOCHS = 1000
DIVERGED = "its training diverged"

logger = logging.getLogger("graftline.baselines")


@dataclass(frozen=True)
class Rival:
    """A baseline and what it says of the held-out rows."""

    against: str
    """Its name for a reader."""
    answers: str | None
    """Its one answer, if it has no other."""
    folder: StepFolder

    def predictions(self) -> "Floats":
        """In the order of the file, as the task's metrics read them: (held-out rows, outputs).

        With the answers that it gives, where these are not the usual ones.
        """
        import numpy as np

        from graftline.evaluation.given import with_answers

        said = cast("Floats", np.load(self.folder.path / PREDICTIONS, allow_pickle=False))
        given = self.folder.path / GIVEN
        return with_answers(said, np.load(given, allow_pickle=False)) if given.exists() else said


@dataclass(frozen=True)
class Baselines:
    """The rivals of a candidate beside the champion."""

    rivals: Mapping[str, Rival]
    left_out: Mapping[str, str]
    """Those that there is no comparison with, and why."""
    further: "Mapping[str, Baselines]" = field(default_factory=dict)
    """Those of the targets beside the first one."""

    @property
    def outcome(self) -> Outcome:
        outcomes = [rival.folder.outcome for rival in self.rivals.values()]
        return "ran" if "ran" in [*outcomes, *(one.outcome for one in self.further.values())] else "reused"


@dataclass(frozen=True)
class _Recipe:
    against: str
    depends_on: Mapping[str, JsonValue]
    code: Sequence[str]
    libraries: Sequence[str]
    predict: Callable[[Path], "Floats | tuple[str, Floats]"]
    """For the held-out rows, with a folder to work in; with the answer in words where it is always the same."""


@step("baselines")
def baselines(
    workspace: Workspace,
    settings: Settings,
    wanted: Sequence[Baseline],
    data: ValidatedData,
    base: BaseModel,
    teacher: BaseModel | None = None,
) -> Baselines:
    """The answers for the held-out rows of those `wanted` that the data allow, and of what needs no model.

    Of several targets the same of each, as if it were the only one, and of a model that learns it alone. Those of a
    `teacher` are there, too: its pupil has to do no worse. A killed one goes on from its last checkpoint.
    """
    first = _of_target(workspace, settings, wanted, data.alone, base, teacher)
    further = {
        name: _of_target(workspace, of_target(settings, name), wanted, own, base) for name, own in data.targets.items()
    }
    return replace(first, further=further)


def of_target(settings: Settings, name: str) -> Settings:
    """The settings as if a further target were the only one. Directions and costs are about the first one's labels."""
    data, update = settings.data.of_target(name), dict[str, object]({"directions": [], "costs": []})
    if data.task != "single_label":  # thresholds part two labels
        update["group_thresholds"] = "none"
    evaluation = settings.evaluation.model_copy(update=update)
    return settings.model_copy(update={"data": data, "evaluation": evaluation})


def _of_target(
    workspace: Workspace,
    settings: Settings,
    wanted: Sequence[Baseline],
    data: ValidatedData,
    base: BaseModel,
    teacher: BaseModel | None = None,
) -> Baselines:
    recipes, left_out = _recipes(workspace, settings, data, base), dict[str, str]()
    if teacher is not None:
        recipes[TEACHER] = _of_teacher(workspace, teacher, data)
    for name in BASELINES:
        if name in recipes and name not in wanted:
            del recipes[name]
            if name in USUAL_BASELINES:  # nobody misses one that is there on request only
                left_out[name] = "left out by the promotion policy"
    if FROZEN_HEAD in recipes and is_solved_head(settings.adaptation):
        left_out[FROZEN_HEAD] = "this candidate is that model itself"
        del recipes[FROZEN_HEAD]
    if SINGLE_TASK in recipes and is_solved_head(settings.adaptation):
        left_out[SINGLE_TASK] = "heads that are solved on a frozen model learn nothing from one another"
        del recipes[SINGLE_TASK]
    rivals = {name: _rival(workspace, name, recipe, data) for name, recipe in recipes.items()}
    diverged = {name: DIVERGED for name, rival in rivals.items() if not (rival.folder.path / PREDICTIONS).exists()}
    return Baselines({name: rivals[name] for name in rivals if name not in diverged}, {**left_out, **diverged})


def is_solved_head(settings: AdaptationSettings) -> bool:
    """Whether the adaptation is nothing but a head that is solved on the frozen base model and the rows as they are."""
    plain = settings.fairness == "none" and settings.domain == "none"
    return settings.strategy == "feature_extraction" and settings.head == "linear" and plain


def frozen_head_settings(settings: Settings) -> AdaptationSettings:
    """How the head of the untouched base model is solved: the penalty is chosen on the validation rows.

    With that penalty, the head learns from these, too.
    """
    shared = _shared(settings, "feature_precision", "feature_gigabytes")
    return AdaptationSettings.model_validate({**shared, "strategy": "feature_extraction"})


def scratch_settings(settings: Settings) -> AdaptationSettings:
    """How the architecture is trained from random weights: on as many epochs and batches as the settings give.

    Everything learns, also where the adaptation is cheaper because most of it is frozen. The epochs of several runs are
    spent in one: runs that start from random weights end too far apart to be averaged. Epochs are averaged where that
    does better on the validation rows. Rates and decay are its own: those of the adaptation suit trained weights.
    """
    given = settings.adaptation
    shared = _shared(settings, "batch_size", "gradient_accumulation", "gradient_checkpointing", "compile")
    budget = {"epochs": min(MOST_EPOCHS, given.epochs * given.runs), "average": "greedy"}
    rates = {"learning_rate": SCRATCH_RATE, "head_learning_rate": SCRATCH_RATE}
    return AdaptationSettings.model_validate({**shared, **budget, **rates, "strategy": "fine_tuning"})


def _shared(settings: Settings, *more: str) -> dict[str, JsonValue]:
    """Seeded by the evaluation: another seed of the adaptation shall find the same baselines."""
    given = settings.adaptation.model_dump(mode="json", include={*SHARED, *more})
    return {**given, "answers": _answers(settings), "seed": settings.evaluation.seed}


def _answers(settings: Settings) -> Answers:
    """Whoever beats a baseline by thresholds shall have beaten the baseline's own; costs are weighed elsewhere."""
    return "thresholds" if settings.adaptation.answers == "thresholds" else "likeliest"


def _recipes(workspace: Workspace, settings: Settings, data: ValidatedData, base: BaseModel) -> dict[str, _Recipe]:
    """The baselines that can be computed from these data, the cheapest first."""
    frozen, scratch = frozen_head_settings(settings), scratch_settings(settings)
    balanced, answers = settings.adaptation.class_weights == "balanced", _answers(settings)
    task = TASKS[data.task]
    scoring, scored = task.scores.scoring, task.modules("scores")
    learned = (*task.modules("outputs", "objective_for"), task.scores.temperature.__module__)

    def adapted(chosen: AdaptationSettings) -> Mapping[str, JsonValue]:
        # The folder's size decides nothing, and a number of threads that is left open is that of the machine.
        written = by_value(chosen, "adaptation", without=["threads", "feature_gigabytes"])
        return {"base_model": base.digest, "settings": written, "threads": thread_count(chosen.threads)}

    def learn(chosen: AdaptationSettings, *, scratch: bool = False, kept: bool = False) -> Callable[[Path], "Floats"]:
        return lambda folder: _adapted(folder, workspace, chosen, data, base, scratch=scratch, kept=kept)

    libraries = (*LIBRARIES, *READING_LIBRARIES[data.kind])
    found = {MAJORITY: _Recipe(scoring.baseline, {}, scored, ("numpy",), lambda _: _without_model(data))}
    if data.kind == "text":
        found["tfidf"] = _Recipe(
            scoring.on_words,
            {"balanced": balanced, "answers": answers},
            (answers_on_words.__module__, *scored),
            ("numpy", "scikit-learn"),
            lambda _: _on_words(data, settings.adaptation),
        )
    found[FROZEN_HEAD] = _Recipe(
        "the frozen base model with a solved head",
        adapted(frozen),
        learned,
        libraries,
        learn(frozen, kept=True),
    )
    found["scratch"] = _Recipe(
        f"the same architecture trained from scratch for {scratch.epochs} epochs",
        adapted(scratch),
        learned,
        libraries,
        learn(scratch, scratch=True),
    )
    if data.is_partial:
        alone = settings.adaptation.model_copy(update={"task_balance": "equal"})
        found[SINGLE_TASK] = _Recipe(
            "the same training for this target alone", adapted(alone), learned, libraries, learn(alone)
        )
    return found


def _of_teacher(workspace: Workspace, teacher: BaseModel, data: ValidatedData) -> _Recipe:
    return _Recipe(
        f"its teacher {teacher.uri} at {teacher.revision}",
        {"teacher": teacher.digest},
        (taught_predictions.__module__, *TASKS[data.task].modules("outputs")),
        (*LIBRARIES, *READING_LIBRARIES[data.kind]),
        lambda _: taught_predictions(workspace, teacher, data),
    )


def _rival(workspace: Workspace, name: str, recipe: _Recipe, data: ValidatedData) -> Rival:
    folder = produce(
        workspace,
        STEP,
        depends_on={"baseline": name, "data": data.sha256, **recipe.depends_on},
        code=(__name__, *recipe.code),
        libraries=recipe.libraries,
        build=lambda folder: _build(folder, recipe),
        resumable=True,
    )
    summary = cast("dict[str, JsonValue]", folder.read_json(SUMMARY))
    logger.info("%s: %s (%s, %.1f s when it ran)", STEP, recipe.against, folder.outcome, summary["seconds"])
    return Rival(recipe.against, cast("str | None", summary["answers"]), folder)


def _build(folder: Path, recipe: _Recipe) -> None:
    import numpy as np

    from graftline.evaluation.given import answers_in
    from graftline.training.progress import DivergedError

    began = time.monotonic()
    answers: str | None = None
    logger.info("%s: computing %s", STEP, recipe.against)
    try:
        made = recipe.predict(folder)
    except DivergedError as error:
        # No reason to lose a run: the comparison is unknown, and it would diverge again.
        logger.warning("%s: %s: %s", STEP, recipe.against, error)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    else:
        answers, predictions = made if isinstance(made, tuple) else (None, made)
        np.save(folder / PREDICTIONS, predictions)
        if (given := answers_in(predictions)) is not None:
            np.save(folder / GIVEN, given)
    write_json(folder / SUMMARY, {"answers": answers, "seconds": round(time.monotonic() - began, 1)})


def _without_model(data: ValidatedData) -> "tuple[str, Floats]":
    held_out = len(split_targets(data, "test"))
    return TASKS[data.task].scores.without_model(split_targets(data, "train").numpy(), held_out, data.labels)


def _on_words(data: ValidatedData, settings: AdaptationSettings) -> "Floats":
    train, validation = (LabelledTexts.of(data, side) for side in LABELLED)
    return answers_on_words(data, train, validation, read_split(data, "test", ["input"])["input"], settings)


def _adapted(
    folder: Path,
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    base: BaseModel,
    *,
    scratch: bool,
    kept: bool,
) -> "Floats":
    """Predictions by the same code as a registered model's.

    The frozen model is `kept`: whether adapting it widened differences between groups is asked with other inputs, too.
    """
    from graftline.answers.predicting import predictor_of
    from graftline.models.folders import save_classifier

    bar = ProgressBar("baseline", "baselines: share of the training steps that are done")
    costs = () if settings.answers == "thresholds" else None
    made = adapt_base(
        workspace, settings, data, base, folder=folder / CHECKPOINTS, bar=bar, scratch=scratch, costs=costs
    )
    bar.show(1.0)
    save_classifier(made.model, made.preprocessor, folder / MODEL, base=None if scratch else base.path)
    predictions = predictor_of(folder / MODEL).predict(raw_inputs(workspace, data, "test"))
    for part in (CHECKPOINTS,) if kept else (CHECKPOINTS, MODEL):
        shutil.rmtree(folder / part, ignore_errors=True)
    return predictions
