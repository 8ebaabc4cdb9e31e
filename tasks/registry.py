"""The registered models and their aliases: every change of champion goes through `move_champion`."""

import logging
import re
from typing import TYPE_CHECKING

from graftline.errors import RegistryRefusedError, SettingsError
from tasks.artifacts import Workspace
from tasks.history import (
    Action,
    Record,
    append_record,
    champions,
    deciding,
    is_carried_out,
    note_carried_out,
    read_history,
)
from tasks.tracking import connect

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
# What Graftline notes on a version.
RUN_KEY, VERDICT, REASONS, RIVAL, BARRED, CHECKED = (
    "graftline.run_key",
    "graftline.verdict",
    "graftline.reasons",
    "graftline.compared_with",
    "graftline.barred",
    "graftline.answers_in_a_fresh_process",
)
# What MLflow answers where a model or an alias does not exist; anything else is trouble, not an answer.
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")

logger = logging.getLogger("graftline.registry")


def champion_of(model: str) -> int | None:
    """The version that carries the alias `champion`, if any."""
    return _alias(model, CHAMPION)


def find_version(model: str, run_key: str) -> "ModelVersion | None":
    """The version that a run key made, if it was registered already."""
    from mlflow import MlflowClient

    found = MlflowClient().search_model_versions(f"name = '{model}' and tags.`{RUN_KEY}` = '{run_key}'")
    return min(found, key=lambda version: int(version.version)) if found else None


def get_version(model: str, version: int) -> "ModelVersion":
    """Raises: RegistryRefusedError if there is no such model or version."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        return MlflowClient().get_model_version(model, str(version))
    except MlflowException:
        have = sorted(int(other.version) for other in MlflowClient().search_model_versions(f"name = '{model}'"))
        raise RegistryRefusedError(
            f"{model} version {version}: not in the registry, which has"
            f" {'versions ' + ', '.join(map(str, have)) if have else 'no version of this model'};"
            " name one that is there, or run `graftline adapt` to make one"
        ) from None


def move_champion(
    workspace: Workspace,
    model: str,
    *,
    to: int,
    action: Action,
    why: str,
    verdict: str | None = None,
    evaluation_sha256: str | None = None,
    expected: int | None = None,
    check_expected: bool = False,
) -> Record:
    """Record the decision, then move the alias, then read it back; one process at a time.

    Raises: RegistryRefusedError if the champion is `to` already, or is not `expected` any more.
    """
    with deciding(workspace, model):
        records = read_history(workspace, model)
        _settle(workspace, model, records)
        before = champion_of(model)
        if check_expected and before != expected:
            raise RegistryRefusedError(
                f"{model}: the champion is {_shown(before)} by now, not {_shown(expected)} as when version {to} was"
                f" chosen; see `graftline history {model}`, then run the same command again"
            )
        if before == to:
            # An alias that was put there by hand still lacks its record.
            before = _by_history(records)
        if before == to:
            raise RegistryRefusedError(f"{model} version {to}: is the champion already; nothing to do")
        record = append_record(
            workspace,
            model,
            after=records,
            action=action,
            version=to,
            champion_before=before,
            champion_after=to,
            why=why,
            verdict=verdict,
            evaluation_sha256=evaluation_sha256,
        )
        _set_champion(model, to)
        note_carried_out(workspace, model, record)
    return record


def repair(workspace: Workspace, model: str) -> list[Record]:
    """Finish what a killed process left half done, and say where the alias was moved by hand. Returns: the history."""
    records = read_history(workspace, model)
    newest = _newest_move(records)
    if newest is None:
        return records
    if champion_of(model) != newest.champion_after or not is_carried_out(workspace, model, newest):
        with deciding(workspace, model):
            records = read_history(workspace, model)
            _settle(workspace, model, records)
    return records


def _settle(workspace: Workspace, model: str, records: list[Record]) -> None:
    newest = _newest_move(records)
    if newest is None or newest.champion_after is None:
        return
    actual, carried_out = champion_of(model), is_carried_out(workspace, model, newest)
    if actual == newest.champion_before and not carried_out:
        logger.warning("%s: finishing the %s to version %d", model, newest.action, newest.champion_after)
        get_version(model, newest.champion_after)
        _set_champion(model, newest.champion_after)
    elif actual != newest.champion_after:
        logger.warning(
            "%s: the champion is %s, but by the history %s: the alias was moved outside of Graftline; left as it is",
            model, _shown(actual), _shown(newest.champion_after),
        )  # fmt: skip
        return
    if not carried_out:
        note_carried_out(workspace, model, newest)


def _newest_move(records: list[Record]) -> Record | None:
    return next((record for record in reversed(records) if record.moves), None)


def _by_history(records: list[Record]) -> int | None:
    newest = _newest_move(records)
    return newest.champion_after if newest else None


def promote(workspace: Workspace, model: str, version: int | None, why: str) -> Record:
    """Make a version the champion by a person's word. Without `version`: the challenger.

    Raises: RegistryRefusedError if there is no such version, it is champion already, or its verdict forbids it.
    """
    open_model(workspace, model)
    version = _alias(model, CHALLENGER) if version is None else version
    if version is None:
        raise RegistryRefusedError(f"{model}: has no challenger to promote; name a version with --version")
    tags = get_version(model, version).tags
    if tags.get(BARRED):
        raise RegistryRefusedError(
            f"{model} version {version}: may not be promoted: {tags[BARRED]}; run `graftline adapt` without that"
        )
    if tags.get(VERDICT) not in ("PROMOTE", "HOLD"):
        raise RegistryRefusedError(
            f"{model} version {version}: has the verdict {tags.get(VERDICT, 'none')}, expected PROMOTE or HOLD"
            f" ({tags.get(REASONS, 'it was never judged')}); train a better one with `graftline adapt`"
        )
    return move_champion(workspace, model, to=version, action="promote", why=why, verdict=tags[VERDICT])


def rollback(workspace: Workspace, model: str, why: str) -> Record:
    """Give the alias back to the champion before this one.

    Raises: RegistryRefusedError if there was none, or its version was deleted.
    """
    open_model(workspace, model)
    stack = champions(repair(workspace, model))
    if len(stack) < 2:
        raise RegistryRefusedError(
            f"{model}: there is nothing to roll back to: its history holds {len(stack)} champion(s), expected 2 or"
            f" more; see `graftline history {model}`"
        )
    if champion_of(model) != stack[-1]:
        raise RegistryRefusedError(
            f"{model}: the champion is {_shown(champion_of(model))}, but by the history it is version {stack[-1]}: the"
            f" alias was moved outside of Graftline; settle it with `graftline promote {model} --version N` first"
        )
    get_version(model, stack[-2])
    return move_champion(
        workspace, model, to=stack[-2], action="rollback", why=why, expected=stack[-1], check_expected=True
    )


def history(workspace: Workspace, model: str) -> tuple[list[Record], int | None]:
    """The records of a model and its present champion. Raises: RegistryRefusedError if there is no such model."""
    open_model(workspace, model)
    return repair(workspace, model), champion_of(model)


def open_model(workspace: Workspace, model: str) -> None:
    """Connect to the registry that has this model. Raises: SettingsError for a bad name; RegistryRefusedError."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    if not NAME.fullmatch(model):
        raise SettingsError(f"{model!r}: no name of a model, expected letters, digits, - and _, at most 63")
    connect(workspace)
    try:
        MlflowClient().get_registered_model(model)
    except MlflowException:
        have = sorted(other.name for other in MlflowClient().search_registered_models())
        raise RegistryRefusedError(
            f"{model}: no such registered model, the registry has {', '.join(have) or 'none'};"
            " correct the name, or run `graftline adapt` to make it"
        ) from None


def _alias(model: str, alias: str) -> int | None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        return int(MlflowClient().get_model_version_by_alias(model, alias).version)
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        return None


def _set_champion(model: str, version: int) -> None:
    from mlflow import MlflowClient

    MlflowClient().set_registered_model_alias(model, CHAMPION, str(version))
    if (actual := champion_of(model)) != version:
        raise RegistryRefusedError(
            f"{model}: the champion was set to version {version} but reads back as {_shown(actual)};"
            f" see `graftline history {model}` for who moved it"
        )


def _shown(version: int | None) -> str:
    return "none" if version is None else f"version {version}"
