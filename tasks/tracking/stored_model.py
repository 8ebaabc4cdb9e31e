"""A registered model as its registry holds it, read without MLflow, whose import alone takes two seconds.

Only what MLflow's client would surely say, too, is answered; wherever that is not certain, the answer is None.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

SQLITE = "sqlite:///"
# Each of these has MLflow look elsewhere or ask in another way than it is done here.
UNUSUAL = (
    "MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH", "MLFLOW_WORKSPACE",
    "MLFLOW_ENABLE_WORKSPACES", "MLFLOW_WORKSPACE_STORE_URI",
)  # fmt: skip
# MLflow's only one, unless it was set up for several.
WORKSPACE = "default"
DELETED = "Deleted_Internal"


@dataclass(frozen=True)
class StoredVersion:
    """A version of a registered model, under the names that MLflow's own class has."""

    version: str
    run_id: str
    creation_timestamp: int
    """Milliseconds since 1970."""
    tags: Mapping[str, str]


@dataclass(frozen=True)
class StoredModel:
    """A registered model: its aliases, its tags, and its versions."""

    aliases: Mapping[str, int]
    tags: Mapping[str, str]
    versions: Mapping[int, StoredVersion]


def stored_model(uri: str, model: str) -> StoredModel | None:
    """The model in the registry at this address; None where it is not there, or where that is not certain."""
    if any(os.environ.get(name) for name in UNUSUAL):
        return None
    if uri.startswith("http"):
        from graftline.tasks.tracking.served_store import served_model  # the modules of HTTP take their time

        return served_model(uri, model)
    try:
        with _opened(uri) as database:
            return _model_in(database, model)
    except (sqlite3.Error, ValueError):
        return None


def stored_run(uri: str, run_id: str) -> list[str] | None:
    """Status and life cycle of a run, such as FINISHED and active; None as `stored_model`."""
    if any(os.environ.get(name) for name in UNUSUAL):
        return None
    if uri.startswith("http"):
        from graftline.tasks.tracking.served_store import served_run

        return served_run(uri, run_id)
    try:
        with _opened(uri) as database:
            found = database.execute("SELECT status, lifecycle_stage FROM runs WHERE run_uuid = ?", (run_id,))
            return next(([str(status), str(stage)] for status, stage in found), None)
    except (sqlite3.Error, ValueError):
        return None


def stored_location(uri: str, model: str, number: int) -> str | None:
    """The address that MLflow loads a version from; None as `stored_model`."""
    if any(os.environ.get(name) for name in UNUSUAL):
        return None
    if uri.startswith("http"):
        from graftline.tasks.tracking.served_store import served_location

        return served_location(uri, model, number)
    try:
        with _opened(uri) as database:
            where = "name = ? AND workspace = ? AND version = ?", (model, WORKSPACE, str(number))
            found = _rows(database, "storage_location, source", "model_versions", where)
            return next((location or source for location, source in found), None)
    except (sqlite3.Error, ValueError):
        return None


def made_experiment(uri: str, experiment_id: str) -> int | None:
    """When an experiment was made (milliseconds since 1970); None as `stored_model`."""
    try:
        with _opened(uri) as database:
            where = "SELECT creation_time FROM experiments WHERE experiment_id = ?", (int(experiment_id),)
            return next((made for (made,) in database.execute(*where)), None)
    except (sqlite3.Error, ValueError):
        return None


@contextmanager
def _opened(uri: str) -> Iterator[sqlite3.Connection]:
    """The database in one state, read only. Raises: ValueError if the address names anything else."""
    path = uri.removeprefix(SQLITE)
    if path == uri or set(path) & set("?%#"):
        raise ValueError(f"no plain address of a sqlite file: {uri}")
    address = f"file:{quote(path)}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as database:
        database.execute("BEGIN")
        yield database


def _model_in(database: sqlite3.Connection, model: str) -> StoredModel | None:
    of_model = "name = ? AND workspace = ?", (model, WORKSPACE)
    if not _rows(database, "name", "registered_models", of_model):
        return None
    tags: dict[int, dict[str, str]] = {}
    for number, key, value in _rows(database, "version, key, value", "model_version_tags", of_model):
        tags.setdefault(number, {})[key] = value
    columns = "version, run_id, creation_time, current_stage"
    versions = {
        number: StoredVersion(str(number), run_id or "", created, tags.get(number, {}))
        for number, run_id, created, stage in _rows(database, columns, "model_versions", of_model)
        if stage != DELETED
    }
    return StoredModel(
        dict(_rows(database, "alias, version", "registered_model_aliases", of_model)),
        dict(_rows(database, "key, value", "registered_model_tags", of_model)),
        versions,
    )


def _rows(
    database: sqlite3.Connection, columns: str, table: str, where: tuple[str, tuple[str, ...]]
) -> list[tuple[Any, ...]]:
    condition, values = where
    # Names of ours only; what comes from outside is among the values.
    return database.execute(f"SELECT {columns} FROM {table} WHERE {condition}", values).fetchall()  # noqa: S608
