"""Before step 3, choose_strategy: where the settings leave it open, the one that does best on the training rows."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.compute.threads import thread_count
from graftline.evaluation.scoring import spelt
from graftline.files import write_json
from graftline.settings import Settings
from graftline.settings.adaptation import AUTO, AdaptationSettings, Strategy
from graftline.settings.by_value import by_value
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import GROUP, ValidatedData, read_split
from graftline.tasks.progress import ProgressBar, Wait
from graftline.tasks.step import step
from graftline.tasks.step_folders import Outcome, produce
from graftline.tasks.steps.adapting import base_on_rows
from graftline.tasks.steps.feature_stores import libraries_for
from graftline.tasks.steps.fine_tune import LIBRARIES
from graftline.tasks.steps.pretraining import starting_base
from graftline.tasks.steps.target_domain import TargetDomain
from graftline.tasks.workers.fanout import spread_for
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.training.strategy_choice import Folded, Trial, TrialPlan

STEP, SUMMARY = "choose_strategy", "choice.json"

logger = logging.getLogger("graftline.choose_strategy")


@dataclass(frozen=True)
class StrategyChoice:
    """Which strategy was chosen, and why."""

    strategy: Strategy
    reason: str
    """A sentence for run, report and model card."""
    trials: tuple[tuple[Strategy, float, float], ...]
    """Each candidate with its score and loss on rows that it had not learned from."""
    outcome: Outcome


def with_chosen_strategy(
    workspace: Workspace, settings: Settings, data: ValidatedData, base: BaseModel, domain: TargetDomain | None = None
) -> tuple[Settings, StrategyChoice | None]:
    """The settings with the chosen strategy in the place of `auto`; as they are, and no choice, otherwise.

    Where the base model's pre-training goes on, also on the texts of the target `domain`, it does so before.

    They are then those of a run that named it, so that it is recorded, and a repetition makes the same model.
    """
    if settings.adaptation.strategy != AUTO:
        return settings, None
    start = starting_base(workspace, settings.adaptation, data, base, domain)
    choice = choose_strategy(workspace, settings, data, start)
    passes = AdaptationSettings.model_fields["auto_passes"].default
    named = settings.adaptation.model_copy(update={"strategy": choice.strategy, "auto_passes": passes})
    return settings.model_copy(update={"adaptation": named}), choice


@step("choose strategy")
def choose_strategy(workspace: Workspace, settings: Settings, data: ValidatedData, base: BaseModel) -> StrategyChoice:
    """Try the candidates in a nested cross-validation on the training rows; the run's other rows have no part in it.

    A killed one goes on from its last checkpoint. Raises: what a training raises.
    """
    adaptation, task = settings.adaptation, TASKS[data.task]
    folder = produce(
        workspace,
        STEP,
        depends_on={
            "data": data.sha256,
            "base_model": base.digest,
            "settings": by_value(adaptation, "adaptation", without=["threads", "feature_gigabytes"]),
            "shares": [settings.data.validation_share, settings.data.test_share],
            "grouped": settings.data.group is not None,
            "threads": thread_count(adaptation.threads),
        },
        code=(__name__, "graftline.training.strategy_choice", *task.modules("outputs", "objective_for")),
        libraries=(*LIBRARIES, *libraries_for(adaptation, data.kind)),
        build=lambda folder: _build(folder, workspace, settings, data, base),
        resumable=True,
    )
    found = cast("dict[str, JsonValue]", folder.read_json(SUMMARY))
    trials = cast("list[tuple[Strategy, float, float]]", found["trials"])
    (strategy,) = (name for name in get_args(Strategy) if name == found["strategy"])
    choice = StrategyChoice(
        strategy,
        cast("str", found["reason"]),
        tuple((name, score, loss) for name, score, loss in trials),
        folder.outcome,
    )
    logger.info("%s: %s (%s)", STEP, choice.reason, folder.outcome)
    return choice


def _build(folder: Path, workspace: Workspace, settings: Settings, data: ValidatedData, base: BaseModel) -> None:
    from graftline.training.progress import Listener
    from graftline.training.strategies import Adaptation
    from graftline.training.strategy_choice import best_trial, plan_trials, tried

    chosen, task = settings.adaptation, TASKS[data.task]
    plan = plan_trials(chosen, has_labels=bool(data.labels))
    there = base_on_rows(workspace, chosen, data, base)
    wait = Wait("training", unit="steps", bar=ProgressBar("choosing", "choose_strategy: share of a trial's steps"))
    frozen = Wait("frozen part")
    adaptation = Adaptation(
        model=there.model,
        rows=there.rows,
        settings=chosen,
        objective_for=task.objective_for,
        stores=there.stores,
        folder=folder,
        listener=Listener(
            lambda progress: wait.tell(progress.step, progress.steps, f", epoch {progress.epoch}"),
            say=logger.info,
            passed=frozen.tell,
        ),
        spread=spread_for(chosen),
    )
    trials = tried(adaptation, plan, _folded(settings, data))
    best = best_trial(trials)
    summary: dict[str, JsonValue] = {
        "strategy": best.strategy,
        "reason": _reason(best, trials, plan, spelt(task.scores.scoring.primary), chosen),
        "trials": [[trial.strategy, trial.score, trial.loss] for trial in trials],
        "folds": plan.folds,
        "passes": plan.passes,
        "left_out": list(plan.left_out),
    }
    _clear(folder)
    write_json(folder / SUMMARY, summary)


def _folded(settings: Settings, data: ValidatedData) -> "Folded":
    import numpy as np

    from graftline.training.strategy_choice import Folded

    columns = read_split(data, "train", ["target", *([GROUP] if settings.data.group else [])])
    groups = columns.get(GROUP, [str(row) for row in range(len(columns["target"]))])
    clusters = np.unique(groups, return_inverse=True)[1]
    held = data.split_rows["validation"] / (data.split_rows["train"] + data.split_rows["validation"])
    return Folded(clusters, columns["target"], held)


def _reason(best: "Trial", trials: "list[Trial]", plan: "TrialPlan", score: str, settings: AdaptationSettings) -> str:
    others = ", ".join(f"{one.strategy} {one.score:.4f}" for one in trials if one is not best)
    dear = f"; {' and '.join(plan.left_out)} would take more than adaptation.auto_passes {settings.auto_passes}"
    against = f", {others}" if others else ""
    return (
        f"auto: {best.strategy} had the best {score} in a cross-validation of {plan.folds} folds on the training rows,"
        f" {best.score:.4f}{against}{dear if plan.left_out else ''}"
    )


def _clear(folder: Path) -> None:
    """Take away what a killed one would have gone on from."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
