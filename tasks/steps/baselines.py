"""Between steps 3 and 4, baselines: what else the held-out rows could get, once per data and base model."""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.compute.threads import thread_count
from graftline.files import write_json
from graftline.settings import Settings
from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.by_value import by_value
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import READING_LIBRARIES, ValidatedData, raw_inputs, read_split, split_targets
from graftline.tasks.progress import ProgressBar
from graftline.tasks.step import step
from graftline.tasks.step_folders import Outcome, StepFolder, finished, produce
from graftline.tasks.steps.adapting import CHECKPOINTS, MODEL, adapt_base
from graftline.tasks.steps.baseline_settings import (
    answers_of_baselines,
    frozen_head_settings,
    is_solved_head,
    scratch_settings,
)
from graftline.tasks.steps.feature_stores import libraries_for
from graftline.tasks.steps.fine_tune import LIBRARIES
from graftline.tasks.steps.teacher import taught_predictions
from graftline.tasks.steps.words_alone import LABELLED, LabelledTexts, answers_on_words
from graftline.tasks.workers.fanout import FolderNotSeenError, Needs, settled, workers
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
    diverged: bool = False
    """Then it says nothing."""

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


class _MadeOf(TypedDict):
    """What the key of a baseline's folder is made of."""

    depends_on: Mapping[str, JsonValue]
    code: Sequence[str]
    libraries: Sequence[str]


@dataclass(frozen=True)
class _Recipe:
    against: str
    depends_on: Mapping[str, JsonValue]
    code: Sequence[str]
    libraries: Sequence[str]
    predict: Callable[[Path], "Floats | tuple[str, Floats]"]
    """For the held-out rows, with a folder to work in; with the answer in words where it is always the same."""


@dataclass(frozen=True)
class _ComparedOn:
    """What all baselines share."""

    workspace: Workspace
    settings: Settings
    data: ValidatedData
    base: BaseModel
    teacher: BaseModel | None

    def recipes(self) -> dict[str, _Recipe]:
        found = _recipes(self.workspace, self.settings, self.data, self.base)
        if self.teacher is not None:
            found[TEACHER] = _of_teacher(self.workspace, self.teacher, self.data)
        return found


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
    on = _ComparedOn(workspace, settings, data, base, teacher)
    recipes, left_out = on.recipes(), dict[str, str]()
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
    at_once = _at_once(on, recipes)
    rivals = {name: at_once.get(name) or _rival(workspace, name, recipe, data) for name, recipe in recipes.items()}
    diverged = {name: DIVERGED for name, rival in rivals.items() if rival.diverged}
    return Baselines({name: rivals[name] for name in rivals if name not in diverged}, {**left_out, **diverged})


def _recipes(workspace: Workspace, settings: Settings, data: ValidatedData, base: BaseModel) -> dict[str, _Recipe]:
    """The baselines that can be computed from these data, the cheapest first."""
    frozen, scratch = frozen_head_settings(settings), scratch_settings(settings)
    balanced, answers = settings.adaptation.class_weights == "balanced", answers_of_baselines(settings)
    task = TASKS[data.task]
    scoring, scored = task.scores.scoring, task.modules("scores")
    learned = (*task.modules("outputs", "objective_for"), task.scores.temperature.__module__)

    def adapted(chosen: AdaptationSettings) -> Mapping[str, JsonValue]:
        # The folder's size decides nothing, and a number of threads that is left open is that of the machine.
        written = by_value(chosen, "adaptation", without=["threads", "feature_gigabytes"])
        return {"base_model": base.digest, "settings": written, "threads": thread_count(chosen.threads)}

    def learn(chosen: AdaptationSettings, *, scratch: bool = False, kept: bool = False) -> Callable[[Path], "Floats"]:
        return lambda folder: _adapted(folder, workspace, chosen, data, base, scratch=scratch, kept=kept)

    def libraries(chosen: AdaptationSettings) -> Sequence[str]:
        return *LIBRARIES, *libraries_for(chosen, data.kind)

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
        libraries(frozen),
        learn(frozen, kept=True),
    )
    found["scratch"] = _Recipe(
        f"the same architecture trained from scratch for {scratch.epochs} epochs",
        adapted(scratch),
        learned,
        libraries(scratch),
        learn(scratch, scratch=True),
    )
    if data.is_partial:
        alone = settings.adaptation.model_copy(update={"task_balance": "equal"})
        found[SINGLE_TASK] = _Recipe(
            "the same training for this target alone", adapted(alone), learned, libraries(alone), learn(alone)
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


def _at_once(on: _ComparedOn, recipes: Mapping[str, _Recipe]) -> dict[str, Rival]:
    """Those that are not there yet, where there are workers for several that see the project folder."""
    if not workers().many:
        return {}
    lacking = [
        name for name, one in recipes.items() if finished(on.workspace, STEP, **_made_of(name, one, on.data)) is None
    ]
    if len(lacking) < 2:
        return {}
    alone = settled(on.settings.adaptation)
    there = replace(on, settings=on.settings.model_copy(update={"adaptation": alone}))
    try:
        return dict(zip(lacking, workers().map(_named, there, lacking, Needs.of(alone, on.workspace)), strict=True))
    except FolderNotSeenError:
        logger.warning("%s: the workers do not see the project folder, so they are made here, one by one", STEP)
        return {}


def _named(on: _ComparedOn, name: str) -> Rival:
    return _rival(on.workspace, name, on.recipes()[name], on.data)


def _made_of(name: str, recipe: _Recipe, data: ValidatedData) -> "_MadeOf":
    return {
        "depends_on": {"baseline": name, "data": data.sha256, **recipe.depends_on},
        "code": (__name__, *recipe.code),
        "libraries": recipe.libraries,
    }


def _rival(workspace: Workspace, name: str, recipe: _Recipe, data: ValidatedData) -> Rival:
    folder = produce(
        workspace,
        STEP,
        **_made_of(name, recipe, data),
        build=lambda folder: _build(folder, recipe),
        resumable=True,
    )
    summary = cast("dict[str, JsonValue]", folder.read_json(SUMMARY))
    logger.info("%s: %s (%s, %.1f s when it ran)", STEP, recipe.against, folder.outcome, summary["seconds"])
    return Rival(recipe.against, cast("str | None", summary["answers"]), folder, bool(summary["diverged"]))


def _build(folder: Path, recipe: _Recipe) -> None:
    import numpy as np

    from graftline.evaluation.given import answers_in
    from graftline.training.progress import DivergedError

    began = time.monotonic()
    answers: str | None = None
    diverged = False
    logger.info("%s: computing %s", STEP, recipe.against)
    try:
        made = recipe.predict(folder)
    except DivergedError as error:
        # No reason to lose a run: the comparison is unknown, and it would diverge again.
        logger.warning("%s: %s: %s", STEP, recipe.against, error)
        diverged = True
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    else:
        answers, predictions = made if isinstance(made, tuple) else (None, made)
        np.save(folder / PREDICTIONS, predictions)
        if (given := answers_in(predictions)) is not None:
            np.save(folder / GIVEN, given)
    seconds = round(time.monotonic() - began, 1)
    write_json(folder / SUMMARY, {"answers": answers, "diverged": diverged, "seconds": seconds})


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
