"""Versions that nobody will ask for any more, and copies of models that no version refers to."""

import logging
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from graftline.tasks.registry.carrying_out import append, entry_of, settled
from graftline.tasks.registry.history import champions, deciding, read_history, record_names
from graftline.tasks.registry.promotion import grounds, repair
from graftline.tasks.registry.records import WITH_RUN, Record
from graftline.tasks.registry.versions import (
    NAME,
    RUN_KEY,
    challenger_of,
    champion_of,
    verdict_of,
    versions_of,
)
from graftline.tasks.tracking.server import client
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

LOGGED_MODEL = "models:/"
# The status of a run that came to its end.
FINISHED = "FINISHED"

logger = logging.getLogger("graftline.registry")


@dataclass(frozen=True)
class Surplus:
    """A version that may go."""

    model: str
    version: int
    judged: Record


@dataclass(frozen=True)
class Orphan:
    """Files of a model in the project folder's store that no version refers to."""

    path: Path
    model_id: str
    run_key: str
    run_status: str


def models_decided_here(workspace: Workspace) -> list[str]:
    """The names of the registered models that this project has a history of; a server may have those of others."""
    names = sorted({version.name for version in _all_versions()})
    return [name for name in names if NAME.fullmatch(name) and record_names(workspace, name)]


def surplus_versions(workspace: Workspace, model: str, *, keep: int) -> list[Surplus]:
    """The versions whose verdict is HOLD or REJECT, without the `keep` newest, the oldest first.

    None that is or was champion and can be gone back to, none that is challenger or waits for an approval.
    """
    return _surplus(model, repair(workspace, model), keep=keep)


def remove_version(workspace: Workspace, surplus: Surplus, *, keep: int) -> bool:
    """Record that a version is removed, and remove it from the registry; its model's files are an orphan's then.

    Returns: False, and does nothing, where it is not surplus any more.
    """
    model, version = surplus.model, surplus.version
    with deciding(workspace, model):
        records = settled(workspace, model)
        if surplus not in _surplus(model, records, keep=keep):
            return False
        champion, entry = champion_of(model), entry_of(surplus.judged)
        if surplus.judged.form < WITH_RUN:
            entry = replace(entry, **grounds(model, version))
        why = f"gc keeps the {keep} newest versions that were held or rejected"
        entry = replace(
            entry,
            action="remove",
            champion_before=champion,
            champion_after=champion,
            why=why,
            reasons=(),
            due=None,
            answer=None,
        )
        append(workspace, model, records, entry)
    return True


def orphans(workspace: Workspace, gone: Collection[tuple[str, int]]) -> list[Orphan]:
    """Copies of models in the store of the project folder that no version would refer to without those `gone`.

    They come from a kill while a version was registered, or from a version that was removed.
    """
    folder = _local_models(workspace)
    if folder is None or not folder.is_dir():
        return []
    wanted, kept_runs = set(_model_ids(gone)), _runs_to_go_back_to(workspace)
    found = [_orphan(workspace, path) for path in sorted(folder.iterdir()) if path.name not in wanted]
    return [orphan for orphan, run in found if orphan is not None and run not in kept_runs]


def remove_unregistered(workspace: Workspace, run_key: str) -> None:
    """Remove the orphans of runs that never came to their end: a kill left them. We hold the lock of run `run_key`."""
    for orphan in orphans(workspace, ()):
        if orphan.run_status == FINISHED:
            continue  # of a version that somebody deleted: `graftline gc` is asked for that
        if orphan.run_key == run_key:
            _remove_files_of(orphan)
        else:
            remove_orphan(workspace, orphan)


def remove_orphan(workspace: Workspace, orphan: Orphan) -> bool:
    """Remove an orphan's files, then what MLflow knows of it. Returns: False where its run goes on registering it."""
    try:
        with FileLock(_lock_of(workspace, orphan.run_key), timeout=0):
            if orphan.model_id in _model_ids(()):
                return False
            _remove_files_of(orphan)
    except Timeout:
        return False
    return True


def _remove_files_of(orphan: Orphan) -> None:
    shutil.rmtree(orphan.path)
    client().delete_logged_model(orphan.model_id)


def versions_in_use(workspace: Workspace) -> dict[str, set[int]]:
    """Of each model that is decided about here the champion and what waits for an approval."""
    used: dict[str, set[int]] = {}
    for model in models_decided_here(workspace):
        waiting = {version for version, judged in _judged(model, repair(workspace, model)).items() if judged.due}
        champion = champion_of(model)
        used[model] = waiting | ({champion} if champion else set())
    return used


def base_models_of(gone: Collection[tuple[str, int]]) -> set[str]:
    """The digests of the base models that the versions without those `gone` were made from."""
    runs = {version.run_id for version in _all_versions() if (version.name, int(version.version)) not in gone}
    found = (_run(str(run)) for run in runs if run)
    digests = (run.data.tags.get("graftline.base_model_sha256") for run in found if run)
    return {digest for digest in digests if digest}


def _surplus(model: str, records: list[Record], *, keep: int) -> list[Surplus]:
    to_go_back_to = {record.version for record in champions(records)}
    kept = {champion_of(model), challenger_of(model), *to_go_back_to}
    found = [
        Surplus(model, version, judged)
        for version, judged in sorted(_judged(model, records).items())
        if judged.verdict in ("HOLD", "REJECT") and not judged.due and version not in kept
    ]
    return found[: max(0, len(found) - keep)]


def _judged(model: str, records: list[Record]) -> dict[int, Record]:
    judged = {number: verdict_of(records, version) for number, version in versions_of(model).items()}
    return {number: record for number, record in judged.items() if record is not None}


def _all_versions() -> "Iterator[ModelVersion]":
    token: str | None = None
    while True:
        page = client().search_model_versions(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _model_ids(gone: Collection[tuple[str, int]]) -> Iterator[str]:
    for version in _all_versions():
        if (version.name, int(version.version)) not in gone:
            yield version.model_id or str(version.source).removeprefix(LOGGED_MODEL)


def _runs_to_go_back_to(workspace: Workspace) -> set[str | None]:
    """The runs of all champions that a rollback leads to, also where someone deleted their versions by hand."""
    histories = workspace.root / "mlflow" / "history"
    models = [path.name for path in histories.iterdir() if path.is_dir()] if histories.is_dir() else []
    return {record.run_id for model in models for record in champions(read_history(workspace, model))} - {None}


def _orphan(workspace: Workspace, path: Path) -> tuple[Orphan | None, str | None]:
    """The orphan in a folder, and its run; None where it is none of ours, or a run elsewhere may go on with it."""
    logged = _logged_model(path.name)
    if logged is None or logged.source_run_id is None:
        return None, None
    run = _run(logged.source_run_id)
    run_key = run.data.tags.get(RUN_KEY) if run else None
    if run is None or run_key is None or not _lock_of(workspace, run_key).exists():
        return None, None
    return Orphan(path, path.name, run_key, run.info.status), logged.source_run_id


def _lock_of(workspace: Workspace, run_key: str) -> Path:
    """The lock of the process that brings a run to its end; it lies there from the run's first start in this folder."""
    return workspace.artifacts / "runs" / f".{run_key}.lock"


def _local_models(workspace: Workspace) -> Path | None:
    """The folder of logged models, where it is in the project folder."""
    own = workspace.root / "mlflow" / "artifacts"
    lies_here = any(one.artifact_location == own.as_uri() for one in client().search_experiments())
    return own / "models" if lies_here else None


def _logged_model(model_id: str) -> "LoggedModel | None":
    from mlflow.exceptions import MlflowException

    try:
        return client().get_logged_model(model_id)
    except MlflowException:
        return None  # none of this store's


def _run(run_id: str) -> "Run | None":
    from mlflow.exceptions import MlflowException

    try:
        return client().get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
