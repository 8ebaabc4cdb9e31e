"""Adapting a base model to the accepted training rows: for the candidate, and for baselines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from graftline.compute.threads import use_threads
from graftline.errors import SettingsError
from graftline.files import write_json
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.base_models.store import BaseModel, verify_base_model
from graftline.tasks.data.accepted_rows import ValidatedData, split_targets
from graftline.tasks.progress import ProgressBar
from graftline.tasks.steps.answer_rule import as_usual, rule_of
from graftline.tasks.steps.feature_stores import share_unfinished, stores_of
from graftline.tasks.steps.learned_targets import (
    calibrated,
    objective_for_targets,
    outputs_for_targets,
    rows_to_learn,
)
from graftline.tasks.steps.mended_rows import Mending, mended
from graftline.tasks.steps.target_domain import TargetDomain
from graftline.tasks.steps.taught_rows import taught_rows
from graftline.tasks.steps.training_progress import listener_of
from graftline.tasks.steps.untouched_base import base_with_head
from graftline.tasks.workers.fanout import spread_for, train_for
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from graftline.frozen.rows import InputRows
    from graftline.models.classifier import Classifier
    from graftline.models.preprocessing import Preprocessor
    from graftline.training.adapted import Adapted
    from graftline.training.objective import ObjectiveFor
    from graftline.training.preparation import Stores

# MLflow finds the checkpoint in the registered model under the folder's own name.
MODEL, CHECKPOINTS = "model", "checkpoints"
# The keys of the stores that hold what a step's frozen part gave.
FEATURES = "features.json"


@dataclass(frozen=True)
class AdaptedModel:
    """An adapted model in memory."""

    model: "Classifier"
    preprocessor: "Preprocessor"
    adapted: "Adapted"
    mended: str | None = None
    """What was done against differences between groups, in words."""


@dataclass(frozen=True)
class BaseOnRows:
    """A base model with a new head, and the accepted rows as it reads them."""

    model: "Classifier"
    preprocessor: "Preprocessor"
    rows: "dict[str, InputRows]"
    """By split."""
    targets: "dict[str, Tensor]"
    """As they are read, by split; those of `rows` are as they are learned."""
    stores: "Stores"
    opened: list[str]
    """The key of each store that `stores` has opened."""
    mended: str | None = None
    """What was done to the rows against differences between groups, in words."""


def base_on_rows(
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    base: BaseModel,
    *,
    scratch: bool = False,
    mending: Mending | None = None,
) -> BaseOnRows:
    """The verified base model, or its architecture with random weights, beside all that an adaptation starts from."""
    from graftline.models.folders import load_preprocessor
    from graftline.models.preprocessing import Reading

    use_threads(settings.threads)
    verify_base_model(base)
    reading = Reading(data.kind, settings.max_tokens, settings.max_seconds, data.sample_bits)
    preprocessor = load_preprocessor(base.path, reading)
    outputs = outputs_for_targets(data)
    model = base_with_head(base, outputs, reading, settings, scratch=scratch)
    sides = ("train", "validation")
    rows: dict[str, InputRows] = {side: rows_to_learn(workspace, data, side, preprocessor, outputs) for side in sides}
    targets: dict[str, Tensor] = {side: split_targets(data, side) for side in sides}
    opened: list[str] = []
    stores = stores_of(workspace, base, settings, data.kind, opened)
    if mending is None:
        return BaseOnRows(model, preprocessor, rows, targets, stores, opened)
    made = mended(data, mending, rows)
    return BaseOnRows(model, preprocessor, made.rows, targets, stores, opened, made.said)


def adapt_base(
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    base: BaseModel,
    *,
    folder: Path,
    bar: ProgressBar,
    finished_epoch: Callable[[dict[str, float]], None] = lambda _: None,
    scratch: bool = False,
    mending: Mending | None = None,
    domain: TargetDomain | None = None,
    costs: Sequence[str] | None = None,
) -> AdaptedModel:
    """Adapt the base model, or its architecture with random weights, to the accepted training rows.

    The rows of a target `domain` are learned from in the way that the settings name, if any are given. Checkpoints go
    to `folder`; who finds some there goes on from them. Beside it is written which stores hold the frozen part's
    output. With `costs`, those of `evaluation.costs`, it answers by the rule that the settings name; without them as
    usual.
    Raises: SettingsError where the settings ask for a mending that the caller does not know.
    """
    from graftline.training.domain.adaptation import adapt
    from graftline.training.strategies import Adaptation

    _require_known_mending(settings, mending)
    there = base_on_rows(workspace, settings, data, base, scratch=scratch, mending=mending)
    model, outputs = there.model, there.model.outputs
    rows, objective_for = _rows_and_objective(workspace, settings, data, there, domain)
    if domain is None:
        settings = settings.model_copy(update={"domain": "none"})
    count = sum(len(split.encoded) for split in rows.values())
    saved = partial(share_unfinished, workspace, folder.parent, there.opened)
    adaptation = Adaptation(
        model=model,
        rows=rows,
        settings=settings,
        objective_for=objective_for,
        stores=there.stores,
        folder=folder,
        listener=listener_of(settings, data, bar, rows=count, finished_epoch=finished_epoch, saved=saved),
        spread=spread_for(settings),
        train=train_for(workspace, settings),
    )
    adapted = adapt(adaptation)
    write_json(folder.parent / FEATURES, list[JsonValue](sorted(set(there.opened))))
    model.to("cpu")
    rule = as_usual if costs is None else rule_of(settings, costs)
    model.outputs = calibrated(outputs, model, adapted, rows["validation"], data, settings.batch_size, rule)
    return AdaptedModel(model, there.preprocessor, adapted, there.mended)


def _require_known_mending(settings: AdaptationSettings, mending: Mending | None) -> None:
    if settings.fairness != "none" and mending is None:
        raise SettingsError(
            f"adaptation.fairness {settings.fairness}: `graftline adapt` and `rank --verify` learn from rows that are"
            " mended so, and this does not; set it to none here"
        )


def _rows_and_objective(
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    there: BaseOnRows,
    domain: TargetDomain | None,
) -> "tuple[Mapping[str, InputRows], ObjectiveFor]":
    """What is learned, and its loss: with what a teacher says of the rows, else with rows of the target domain."""
    from graftline.training.distillation import taught
    from graftline.training.domain.adaptation import TARGET

    rows, objective_for = there.rows, objective_for_targets()
    if settings.teacher is not None:
        preprocessor, outputs = there.preprocessor, there.model.outputs
        return taught_rows(workspace, settings, data, preprocessor, outputs, rows, domain), taught(objective_for)
    if domain is not None:
        return {**rows, TARGET: _unlabelled(workspace, domain, there)}, objective_for
    return rows, objective_for


def _unlabelled(workspace: Workspace, domain: TargetDomain, there: BaseOnRows) -> "InputRows":
    """The rows of a target domain, whose targets say nothing."""
    import torch

    from graftline.frozen.rows import InputRows

    encoded = there.preprocessor.encode(domain.inputs(workspace))
    return InputRows(there.preprocessor, encoded, torch.zeros(len(encoded), dtype=torch.long))
