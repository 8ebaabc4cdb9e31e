"""Moving a model's registry and history from the project folder to where a team reaches them, whole and verified."""

import json
import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftline.errors import RegistryRefusedError, SettingsError
from graftline.tasks.registry.brought import Registries, runs_of
from graftline.tasks.registry.elsewhere import TRACKING, at_registry
from graftline.tasks.registry.history import (
    MOVED,
    deciding,
    deciding_in,
    histories_room,
    history_folder,
    history_room,
    read_history,
    record_names,
)
from graftline.tasks.registry.manifest import as_judged
from graftline.tasks.registry.ownership import DECIDED_IN, NUMBER, decided_elsewhere, own_this_history
from graftline.tasks.registry.promotion import repair
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.verification import Proof, verify
from graftline.tasks.registry.versions import versions_of
from graftline.tasks.state.folder import Folder
from graftline.tasks.state.shared import STATE, State, shared_state
from graftline.tasks.tracking.addresses import without_password
from graftline.tasks.tracking.pages import as_description
from graftline.tasks.tracking.server import client, experiment_of, if_there, tracking_uri
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

# On the registered model there, as long as it is being brought.
MOVING = "graftline.being_brought"

logger = logging.getLogger("graftline.registry")


@dataclass(frozen=True)
class Moved:
    """What was brought."""

    registry: str
    state: str
    runs: int
    versions: int
    proof: Proof
    """Of the history as it lies there now."""


def move_history(workspace: Workspace, model: str) -> Moved:
    """Bring a model's runs, versions, aliases and records from the project's own store to the team's servers.

    The numbers of versions stay; runs get new ids, each beside the one that the records name. What was moved stays
    here, too, with a note of where it went, and decides nothing any more. Goes on where a kill ended it.
    Raises: SettingsError if the environment names no registry or no state; RegistryRefusedError if the history here is
    not whole, or the registry there has another model of this name.
    """
    state = _require_team(workspace)
    with _own_store(workspace):
        source, left = client(), _checked_here(workspace, model)
    logger.info("%s: %d records are whole; bringing them to %s", model, left.records, state.address)
    registries, registry = Registries(source, client(), experiment_of(workspace, model)), tracking_uri(workspace)
    local = Folder(history_folder(workspace, model))
    with deciding_in(local, model):  # what is decided here from now on would be lost
        records = _require_none_there(workspace, model, registries.target)
        with deciding(workspace, model):
            runs = _bring_runs(registries, model)
            versions = _bring_versions(workspace, registries, model, records)
            _bring_records(workspace, model)
            _bring_names(registries, model)
        own_this_history(workspace, model)
        proof = _verified(workspace, model, records)
        note = {"registry": without_password(registry), "state": state.address}
        local.replace(MOVED, json.dumps(note).encode())
    # Not before: until the note is written, a kill has the move start again, which has to know it for one of its own.
    registries.target.delete_registered_model_tag(model, MOVING)
    return Moved(without_password(registry), state.address, runs, versions, proof)


def _require_team(workspace: Workspace) -> State:
    state = shared_state()
    if state is None or not tracking_uri(workspace).startswith("http"):
        raise SettingsError(
            f"move-history: {TRACKING} and {STATE} have to name the team's registry and state, got"
            f" {without_password(os.environ.get(TRACKING, 'nothing'))} and {os.environ.get(STATE, 'nothing')}; set both"
            " as the team has them, then run it in the project folder whose history is to be moved"
        )
    return state


def _own_store(workspace: Workspace) -> AbstractContextManager[None]:
    return at_registry(workspace, None, None)


def _checked_here(workspace: Workspace, model: str) -> Proof:
    if not record_names(workspace, model):
        raise RegistryRefusedError(
            f"{model}: {history_folder(workspace, model)} holds no records, so there is nothing to move; run this in"
            " the project folder that decided about the model"
        )
    repair(workspace, model)
    proof = verify(workspace, model)
    if proof.findings:
        raise RegistryRefusedError(
            f"{model}: its history here is not whole, {len(proof.findings)} findings, and stays where it is; restore it"
            " from a backup first",
            [str(finding) for finding in proof.findings],
        )
    return proof


def _require_none_there(workspace: Workspace, model: str, target: "MlflowClient") -> list[Record]:
    """Returns: the records here.

    Raises: RegistryRefusedError unless the model is new there, or what is there is of this very history.
    """
    with _own_store(workspace):
        here = read_history(workspace, model)
    room = history_room(workspace, model)
    there = [name for name in room.names() if name.endswith(".json")]
    own = {f"{record.number:06d}.json": record.content for record in here}
    foreign = [name for name in there if (kept := room.read(name)) is None or kept.content != own.get(name)]
    decided = decided_elsewhere(workspace, model)
    named = if_there(lambda: target.get_registered_model(model), model)
    if foreign or decided is not None or (named is not None and MOVING not in named.tags):
        raise RegistryRefusedError(
            f"{model}: there is a model of that name at {without_password(tracking_uri(workspace))} already, with a"
            " history of its own; give this one another name there (rename it with registry.model and train it once),"
            " or remove that one"
        )
    if named is None:
        target.create_registered_model(model, tags={MOVING: "unfinished"})
    return here


def _bring_runs(registries: Registries, model: str) -> int:
    found = registries.source.get_experiment_by_name(model)
    if found is None:
        return 0
    runs = runs_of(registries.source, found.experiment_id)
    for number, run_id in enumerate(runs, start=1):
        registries.run(run_id)
        logger.info("%s: run %d of %d is there", model, number, len(runs))
    for name, value in found.tags.items():
        if name != DECIDED_IN:
            registries.target.set_experiment_tag(registries.experiment_id, name, value)
    return len(runs)


def _bring_versions(workspace: Workspace, registries: Registries, model: str, records: Sequence[Record]) -> int:
    """Each under its number; those of versions which were removed are used up: no other may come to their records."""
    with _own_store(workspace):
        here = versions_of(model)
    number, last = max(versions_of(model), default=0) + 1, max([*here, *(record.version for record in records)])
    while number <= last:
        with ExitStack() as stack:
            with _own_store(workspace):
                files = stack.enter_context(as_judged(workspace, model, number)) if number in here else None
            made = registries.version(here[number], files) if files else registries.gap(model)
        # Behind the last version a move that was killed may have used numbers up before.
        if made != number and any(one in here for one in range(number, made + 1)):
            raise RegistryRefusedError(
                f"{model}: its version {number} got number {made} there: somebody registers versions of that name at"
                " the same time; let them stop, remove the model there, and start again"
            )
        logger.info("%s: version %d of %d is there", model, made, last)
        number = made + 1
    registries.remove_gaps(model)
    return len(here)


def _bring_records(workspace: Workspace, model: str) -> None:
    """Byte for byte: they are chained, and may be signed."""
    local, room = Folder(history_folder(workspace, model)), history_room(workspace, model)
    for name in local.names():
        if (kept := local.read(name)) is not None and name != MOVED:
            room.write_once(name, kept.content)
    number = Folder(history_folder(workspace, model).parent).read(NUMBER)
    if number is not None:
        histories_room(workspace).write_once(NUMBER, number.content)


def _bring_names(registries: Registries, model: str) -> None:
    """What the registry notes of the history, and the aliases, which come last."""
    found = registries.source.get_registered_model(model)
    for name, value in found.tags.items():
        registries.target.set_registered_model_tag(model, name, value)
    if found.description:
        registries.target.update_registered_model(model, as_description(found.description))
    for alias, number in found.aliases.items():
        registries.target.set_registered_model_alias(model, alias, str(number))


def _verified(workspace: Workspace, model: str, records: Sequence[Record]) -> Proof:
    """The proof of the history as it lies there. Raises: RegistryRefusedError if it is not whole."""
    proof = verify(workspace, model)
    if proof.findings or proof.records != len(records):
        raise RegistryRefusedError(
            f"{model}: the history does not verify at {without_password(tracking_uri(workspace))}: it was changed while"
            " it was brought; remove the model and its experiment there, and start again; here all is as it was",
            [str(finding) for finding in proof.findings],
        )
    return proof
