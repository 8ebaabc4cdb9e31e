"""Promoting a version in another registry, as from staging to production, with all that it was judged by."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from graftline.errors import RegistryRefusedError, SettingsError
from graftline.tasks.registry.brought import Registries
from graftline.tasks.registry.carrying_out import append, entry_of, settled
from graftline.tasks.registry.elsewhere import AsBefore, at_registry
from graftline.tasks.registry.history import deciding
from graftline.tasks.registry.manifest import as_judged
from graftline.tasks.registry.ownership import require_own_history
from graftline.tasks.registry.promotion import promote, repair
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.versions import (
    BROUGHT,
    RIVAL,
    WEIGHTS,
    challenger_of,
    champion_of,
    get_version,
    make_model,
    open_model,
    shown,
    verdict_of,
    versions_of,
)
from graftline.tasks.tracking.addresses import without_password
from graftline.tasks.tracking.server import client, experiment_of, tracking_uri
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger("graftline.registry")


@dataclass(frozen=True)
class Judged:
    """A version whose verdict is PROMOTE, in the registry that judged it."""

    version: "ModelVersion"
    record: Record
    rivals: frozenset[str]
    """Digests of the weights that it was shown to be better than, or that were shown to be better before."""


def promote_to(
    workspace: Workspace, model: str, version: int | None, why: str, *, registry: str, state: str | None
) -> Record:
    """Bring a version to another registry and make it champion there. Without `version`: the champion here.

    Its run, its files as they were judged and its verdict come with it; the history there, which lies at `state`,
    records the verdict with the record that it comes from, and the promotion.
    Raises: SettingsError if both are the same registry; RegistryRefusedError if its verdict here is not PROMOTE, or the
    champion there is none that it was compared with.
    """
    here = tracking_uri(workspace)
    if without_password(registry).rstrip("/") == without_password(here).rstrip("/"):
        raise SettingsError(
            f"--to {without_password(registry)}: is the registry here; name another one, or leave it out"
        )
    open_model(workspace, model)
    records = repair(workspace, model)
    judged = _judged(model, records, version)
    source = cast("MlflowClient", AsBefore(client()))
    origin = f"version {judged.version.version} at {without_password(here)}"
    with ExitStack() as stack:
        files = stack.enter_context(as_judged(workspace, model, int(judged.version.version)))
        with at_registry(workspace, registry, state):
            require_own_history(workspace, model)
            registries = Registries(source, client(), experiment_of(workspace, model))
            number = _there(model, judged)
            _require_rival(model, judged, number)
            if number is None:
                make_model(model)
                number = registries.version(judged.version, files)
                logger.info("%s: %s is version %d there", model, origin, number)
            _record(workspace, model, number, judged, origin)
            _require_rival(model, judged, number)  # sending the files took its time
            return promote(workspace, model, number, why)


def _judged(model: str, records: Sequence[Record], number: int | None) -> Judged:
    number = champion_of(model) if number is None else number
    number = challenger_of(model) if number is None else number
    if number is None:
        raise RegistryRefusedError(f"{model}: has neither champion nor challenger to bring; name one with --version")
    version = get_version(model, number)
    record = verdict_of(list(records), version)
    if record is None or record.verdict != "PROMOTE" or record.files is None:
        verdict = f"the verdict {record.verdict}" if record else "no verdict"
        raise RegistryRefusedError(
            f"{model} version {number}: has {verdict} here, expected PROMOTE with the digests of its files; only what"
            " the gate let pass is brought to another registry"
        )
    return Judged(version, record, _rivals(model, records, version))


def _rivals(model: str, records: Sequence[Record], version: "ModelVersion") -> frozenset[str]:
    """What it was compared with, and the champions before that one."""
    numbered, found = versions_of(model), set[str]()
    rival = version.tags.get(RIVAL, "")
    while rival.isdecimal() and (one := numbered.get(int(rival))) is not None and one.tags.get(WEIGHTS) not in found:
        found.add(str(one.tags.get(WEIGHTS)))
        record = verdict_of(list(records), one)
        rival = one.tags.get(RIVAL, "") if record is not None and record.verdict == "PROMOTE" else ""
    return frozenset(found)


def _there(model: str, judged: Judged) -> int | None:
    """Its number there, if it was brought before."""
    runs = {judged.version.tags.get(BROUGHT), judged.version.run_id} - {None}
    found = [number for number, one in versions_of(model).items() if one.tags.get(BROUGHT) in runs]
    return max(found, default=None)


def _require_rival(model: str, judged: Judged, number: int | None) -> None:
    """Raises: RegistryRefusedError if the champion there is neither a rival nor the version itself, its `number`."""
    champion = champion_of(model)
    weights = get_version(model, champion).tags.get(WEIGHTS) if champion is not None else None
    if champion not in (None, number) and weights not in judged.rivals:
        raise RegistryRefusedError(
            f"{model} version {judged.version.version}: was never compared with the champion there, {shown(champion)}"
            f" (weights {str(weights)[:12]}); bring that one here first, let `graftline adapt` compare the two, or"
            " override there"
        )


def _record(workspace: Workspace, model: str, number: int, judged: Judged, origin: str) -> None:
    """Write down there what was judged here, unless it is: the promotion rests on it."""
    with deciding(workspace, model):
        records = settled(workspace, model)
        if verdict_of(records, get_version(model, number)) is not None:
            return
        before, by = champion_of(model), judged.record
        entry = replace(
            entry_of(by),
            action="verdict",
            version=number,
            champion_before=before,
            champion_after=before,
            why=f"judged as {origin} by record {by.number} ({by.sha256[:12]}): {by.why}",
            due=None,
            look=None,
            answer=None,
        )
        append(workspace, model, records, entry)
