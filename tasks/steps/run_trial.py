"""One trial of a search: an adaptation that is given up where it does no better than half of those before it."""

import json
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from pydantic import JsonValue

from graftline.compute.threads import thread_count
from graftline.digests import json_sha256
from graftline.errors import SettingsError
from graftline.files import write_json
from graftline.search.space import Space
from graftline.search.trials import Proposal, State, Trial, is_given_up
from graftline.settings.by_value import by_value
from graftline.settings.words import with_partners
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.progress import ProgressBar
from graftline.tasks.step import step
from graftline.tasks.step_folders import produce
from graftline.tasks.steps.adapting import CHECKPOINTS, adapt_base
from graftline.tasks.steps.feature_stores import libraries_for
from graftline.tasks.steps.fine_tune import LIBRARIES, into_domain
from graftline.tasks.steps.learned_targets import learning_modules, score_of
from graftline.tasks.steps.mended_rows import Mending
from graftline.tasks.steps.target_domain import TargetDomain
from graftline.tasks.steps.teacher import taught_by
from graftline.tasks.workers.fanout import Needs, settled, workers
from graftline.tasks.workspace import Workspace

STEP, RECORD = "trial", "trial.json"
# The epochs of a trial that is under way, for whoever goes on with it.
EPOCHS = "epochs.json"

logger = logging.getLogger("graftline.search")


class _GivenUpError(Exception):
    """The trial does no better than half of those before it."""


@step("trial")
def run_trial(
    workspace: Workspace,
    data: ValidatedData,
    base: BaseModel,
    space: Space,
    proposal: Proposal,
    before: Sequence[Trial],
    mending: Mending | None = None,
    domain: TargetDomain | None = None,
) -> Trial:
    """Adapt the base model as proposed and keep what each epoch came to on the validation rows; the model is not kept.

    A trial that was killed goes on from its last checkpoint, and one that has ended is not repeated. One whose settings
    this model or machine has not, or that diverges, has failed; but the first one are the settings as they are.
    Raises: SettingsError for these.
    """
    settings, way = into_domain(proposal.settings, domain)
    as_trained = replace(proposal, settings=settings)
    depends_on: dict[str, JsonValue] = {
        "data": data.sha256,
        "score": score_of(data),
        "base_model": base.digest,
        "settings": by_value(settings, "adaptation", without=["threads", "feature_gigabytes"]),
        "threads": thread_count(settings.threads),
        "values": {**proposal.values},
        **taught_by(workspace, settings),
        **({"target_domain": way.rows.sha256} if way else {}),
        "before": json_sha256([_came_to(trial) for trial in before]),
        **({} if mending is None else {"mending": mending.as_json()}),
    }
    folder = produce(
        workspace,
        STEP,
        depends_on=depends_on,
        # Words that take each other's place are code in the settings' room.
        code=(__name__, with_partners.__module__, *learning_modules(data)),
        libraries=(*LIBRARIES, *libraries_for(settings, data.kind), "optuna"),
        build=lambda folder: _build(folder, workspace, data, base, space, as_trained, before, mending, way),
        resumable=True,
    )
    written = cast("dict[str, Any]", folder.read_json(RECORD))
    scores, losses = _by_epoch(written["scores"]), _by_epoch(written["losses"])
    return Trial(
        proposal.values, proposal.settings, written["state"], scores, losses, written["why"], written["seconds"]
    )


@dataclass(frozen=True)
class TriedOn:
    """What trials share that are under way at once."""

    workspace: Workspace
    data: ValidatedData
    base: BaseModel
    space: Space
    before: Sequence[Trial]
    mending: Mending | None
    domain: TargetDomain | None


@step("trials")
def run_trials(
    workspace: Workspace,
    data: ValidatedData,
    base: BaseModel,
    space: Space,
    proposals: Sequence[Proposal],
    before: Sequence[Trial],
    mending: Mending | None = None,
    domain: TargetDomain | None = None,
) -> list[Trial]:
    """The same for several, none of which knows of the others; at once where there are workers for them."""
    on = TriedOn(workspace, data, base, space, before, mending, domain)
    there = [replace(one, settings=settled(one.settings)) for one in proposals]
    ran = workers().map(_run_one, on, there, Needs.of(proposals[0].settings, workspace))
    return [replace(trial, settings=one.settings) for trial, one in zip(ran, proposals, strict=True)]


def _run_one(on: TriedOn, proposal: Proposal) -> Trial:
    given = on.workspace, on.data, on.base, on.space, proposal, on.before, on.mending, on.domain
    return run_trial.fn(*given)


def _build(
    folder: Path,
    workspace: Workspace,
    data: ValidatedData,
    base: BaseModel,
    space: Space,
    proposal: Proposal,
    before: Sequence[Trial],
    mending: Mending | None,
    domain: TargetDomain | None,
) -> None:
    from graftline.training.progress import DivergedError

    began, strategy = time.monotonic(), proposal.settings.named_strategy
    as_they_are, _ = into_domain(settled(space.begins_with[0]), domain)
    scores, losses = _of_interrupted(folder)
    primary = f"validation_{score_of(data)}"

    def finished_epoch(epoch: Mapping[str, float]) -> None:
        number = int(epoch["number"])
        scores[number], losses[number] = epoch[primary], epoch["validation_loss"]
        write_json(folder / EPOCHS, {"scores": _as_json(scores), "losses": _as_json(losses)})
        if is_given_up(space, before, strategy, scores):
            raise _GivenUpError

    state: State = "finished"
    why = ""
    try:
        if scores and is_given_up(space, before, strategy, scores):  # the kill came before it was
            raise _GivenUpError
        bar = ProgressBar("trial", "search: share of this trial's steps that are done")
        adapt_base(
            workspace,
            # It is judged by the epochs that choose; what it would learn again from all rows nobody keeps.
            proposal.settings.model_copy(update={"refit_rows": 0}),
            data,
            base,
            folder=folder / CHECKPOINTS,
            bar=bar,
            finished_epoch=finished_epoch,
            mending=mending,
            domain=domain,
        )
    except _GivenUpError:
        state = "pruned"
    except (SettingsError, DivergedError) as error:
        if not before and settled(proposal.settings) == as_they_are and isinstance(error, SettingsError):
            raise
        state, why = "failed", error.sentence
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    (folder / EPOCHS).unlink(missing_ok=True)
    record: dict[str, JsonValue] = {"scores": _as_json(scores), "losses": _as_json(losses), "state": state, "why": why}
    write_json(folder / RECORD, {**record, "seconds": round(time.monotonic() - began, 1)})


def _came_to(trial: Trial) -> JsonValue:
    """All of a trial that later ones depend on."""
    return {"values": {**trial.values}, "state": trial.state, "scores": _as_json(trial.scores)}


def _of_interrupted(folder: Path) -> tuple[dict[int, float], dict[int, float]]:
    """The scores and losses of the epochs that a killed trial has had."""
    try:
        written = json.loads((folder / EPOCHS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, {}
    return _by_epoch(written["scores"]), _by_epoch(written["losses"])


def _by_epoch(written: Mapping[str, float]) -> dict[int, float]:
    return {int(number): value for number, value in written.items()}


def _as_json(by_epoch: Mapping[int, float]) -> JsonValue:
    return {str(number): value for number, value in by_epoch.items()}
