"""Where MLflow keeps runs and models: a server that the environment names, otherwise a store in the project folder."""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

from filelock import FileLock

from graftline.errors import RegistryRefusedError
from graftline.tasks.patience import Server, patiently, until_there
from graftline.tasks.progress import waiting
from graftline.tasks.scratch import scratch_folder
from graftline.tasks.tracking.addresses import credentials, without_password
from graftline.tasks.tracking.stored_model import made_experiment
from graftline.tasks.workspace import Workspace
from graftline.wording import ERROR_CHARACTERS, shortened

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Runs of all models lay in this one before each model had its own.
FIRST_EXPERIMENT = "graftline"
# MLflow's own retries notice a dead server only after minutes.
HEALTH_TIMEOUT_SECONDS = 5
MAX_RETRIES = "1"
# One that hangs would be noticed only after two minutes for each try.
REQUEST_TIMEOUT_SECONDS = "60"
# A request whose answer was lost may have made one: another would make a second.
ASKED_ONCE = ("create_run", "create_model_version")
# The answers of MLflow where something does not exist; anything else is trouble, not an answer.
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
DENIED = "PERMISSION_DENIED"
# The schemes of addresses that are paths of this machine.
LOCAL = ("", "file")
# Every store has it, made with its tables, in a millisecond of its own.
EVERY_STORES = "0"
# The page of a server, MLflow's or Prefect's, that says that it lives.
HEALTH = "/health"

Found = TypeVar("Found")


@dataclass(frozen=True)
class TrackedRun:
    """The MLflow run of one run key: data version, base model, settings and code."""

    run_id: str
    run_key: str
    finished: bool
    """Whether an earlier start brought it to its end: then nothing more is written to it."""
    unrepeatable: str | None = None
    """Why it cannot be reproduced, if it cannot."""


def connect(workspace: Workspace) -> str:
    """Point MLflow's client at the tracking server of this project and return its address.

    Raises: ServerAwayError if the environment names a server that does not answer.
    """
    uri = tracking_uri(workspace)
    # Where MLflow's client looks for them, here and in the processes that are started.
    os.environ.update(credentials())
    require_tracking_server(workspace)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", MAX_RETRIES)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", REQUEST_TIMEOUT_SECONDS)
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    if not uri.startswith("http"):
        _open_store(workspace)
    return uri


def _open_store(workspace: Workspace) -> None:
    """The first to open a database makes its tables; of two at once MLflow has one fail."""
    folder = workspace.root / "mlflow"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "mlflow.db.lock"):
        if is_own_store(workspace) and not _own_store(workspace).exists():
            _make_tables(_own_store(workspace))
        client()


def _make_tables(database: Path) -> None:
    """Beside it first, then all at once: with half of its tables, as a kill would leave it, MLflow never opens it."""
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH as ARTIFACTS
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    unfinished = database.with_name(f"{database.name}.unfinished")
    for left in database.parent.glob(f"{unfinished.name}*"):
        left.unlink()
    store = SqlAlchemyStore(f"sqlite:///{unfinished}", ARTIFACTS)  # type: ignore[no-untyped-call]
    store.engine.dispose()
    unfinished.rename(database)


def require_tracking_server(workspace: Workspace) -> None:
    """Raises: ServerAwayError if the environment names a server that does not answer; in a run it is waited for."""
    if server := _server(tracking_uri(workspace)):
        until_there(server)


def patiently_asked(workspace: Workspace, ask: Callable[[], Found]) -> Found:
    """The answer of what needs MLflow, asked again if its server was away meanwhile."""
    return _patiently_at(tracking_uri(workspace), ask)


def tracking_uri(workspace: Workspace) -> str:
    """`MLFLOW_TRACKING_URI` where it is set, otherwise a sqlite file below `mlflow/`.

    Of a server without its password, which `credentials` has: MLflow would print it, and Prefect keep what is printed.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if not named:
        return f"sqlite:///{_own_store(workspace)}"
    return without_password(named) if named.startswith("http") else named


def has_registry(workspace: Workspace) -> bool:
    """Whether there is one: to connect to the project's own would make it."""
    return not is_own_store(workspace) or _own_store(workspace).exists()


def is_own_store(workspace: Workspace) -> bool:
    """Whether the registry is the one in the project folder."""
    return tracking_uri(workspace) == f"sqlite:///{_own_store(workspace)}"


def no_answer(address: str) -> str | None:
    """Why no server answers at this address; None if one does, also by a refusal: a proxy may hide this page."""
    # A refusal is an answer, so nobody's password is needed.
    asked = without_password(address).rstrip("/") + HEALTH
    try:
        with urllib.request.urlopen(asked, timeout=HEALTH_TIMEOUT_SECONDS):  # noqa: S310 - callers checked for http(s)
            return None
    except urllib.error.HTTPError:
        return None
    except (OSError, HTTPException, ValueError) as error:
        return str(error)


@waiting("opening MLflow's store")  # the first to ask makes its tables
def client() -> "MlflowClient":
    """MLflow's client, for runs and models where `connect` has found them.

    It waits for a server that is away. What may not be asked twice is for the caller to ask `patiently_asked`, in one
    with a look whether it is there.
    """
    from mlflow import MlflowClient, get_tracking_uri

    found = MlflowClient()
    server = _server(get_tracking_uri())
    return found if server is None else cast("MlflowClient", _PatientClient(found, server))


class _PatientClient:
    """MLflow's client, each request of which waits for its server."""

    def __init__(self, client: "MlflowClient", server: Server) -> None:
        self._client, self._server = client, server

    def __getattr__(self, name: str) -> object:
        asked = getattr(self._client, name)
        if name in ASKED_ONCE or not callable(asked):
            return asked

        def ask(*arguments: object, **named: object) -> object:
            return patiently(self._server, lambda: asked(*arguments, **named))

        return ask


def experiment_of(workspace: Workspace, model: str, *, tags: dict[str, str] | None = None) -> str:
    """The id of the experiment that holds the runs of a registered model, under its name; made at its first use.

    With these `tags`, which an experiment that is there already does not get.
    """
    from mlflow.exceptions import MlflowException

    server, uri = client(), tracking_uri(workspace)
    # A plain folder can be read with and without a server; a remote server chooses its own place.
    local = workspace.root / "mlflow" / "artifacts"
    own = not uri.startswith("http") or _serves_own_store(workspace)
    if server.get_experiment_by_name(model) is None:
        try:
            return server.create_experiment(model, artifact_location=local.as_uri() if own else None, tags=tags)
        except MlflowException as error:  # another process was faster
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    found = server.get_experiment_by_name(model)
    assert found is not None
    return str(found.experiment_id)


def _serves_own_store(workspace: Workspace) -> bool:
    """Whether the server that was asked for serves the store in the project folder, as `graftline up` does."""
    if not _own_store(workspace).exists():
        return False
    served = if_there(lambda: client().get_experiment(EVERY_STORES))
    made = made_experiment(f"sqlite:///{_own_store(workspace)}", EVERY_STORES)
    return served is not None and made is not None and served.creation_time == made


def experiments_with_runs_of(workspace: Workspace, model: str) -> list[str]:
    """The ids of the experiments that runs of a model may lie in, its own first."""
    first = client().get_experiment_by_name(FIRST_EXPERIMENT)
    return list(dict.fromkeys([experiment_of(workspace, model), *([first.experiment_id] if first else [])]))


def if_there(look: Callable[[], Found], model: str | None = None) -> Found | None:
    """The answer of MLflow; None where it has no such run, model, version or alias.

    A server that asks who one is denies what is not there, to tell nothing; whether it lists the `model` says which.
    """
    from mlflow.exceptions import MlflowException

    try:
        return look()
    except MlflowException as error:
        if error.error_code in NOT_THERE or (error.error_code == DENIED and model and not _lists(model)):
            return None
        raise


def _lists(model: str) -> bool:
    """Whether MLflow lists the registered model for us. Who may change one may also see it."""
    return bool(client().search_registered_models(f"name = '{model}'"))


@contextmanager
def refusing_with_mlflow(what: str) -> Iterator[None]:
    """Raises: RegistryRefusedError instead of MLflow's own errors."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        said = shortened(" ".join(str(error).split()), ERROR_CHARACTERS)
        raise RegistryRefusedError(f"{what}: MLflow refused ({said}); look into its log, then try again") from None


def run_page(workspace: Workspace, run_id: str) -> str | None:
    """The address of a run's page, where a server shows it."""
    uri = tracking_uri(workspace)
    if not uri.startswith("http"):
        return None
    experiment = client().get_run(run_id).info.experiment_id
    return f"{uri}/#/experiments/{experiment}/runs/{run_id}"


def logged_settings(run_id: str) -> dict[str, str]:
    """The settings of an MLflow run, as `section.key`; none where there is no such run."""
    from mlflow.exceptions import MlflowException

    try:
        return dict(client().get_run(run_id).data.params)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


@contextmanager
def model_folder(workspace: Workspace, uri: str) -> Iterator[Path]:
    """The files of a registered model: where they lie, or, as long as the block runs, a copy of those on a server."""
    import mlflow
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository

    server, load = mlflow.get_registry_uri(), mlflow.artifacts.download_artifacts
    if not server.startswith("http"):
        where = ModelsArtifactRepository.get_underlying_uri(uri)  # type: ignore[no-untyped-call]
        if urlsplit(where).scheme in LOCAL:
            # Not by the version's name: MLflow would write into the stored model, through a link that lies there, too.
            yield Path(load(artifact_uri=where))
            return
    with scratch_folder(workspace) as copy:
        yield Path(_patiently_at(server, partial(load, artifact_uri=uri, dst_path=str(copy))))


def log_epoch(run_id: str, epoch: Mapping[str, float]) -> None:
    """All numbers of one epoch in one request: number by number is 70 times slower."""
    from mlflow.entities import Metric

    step, now = int(epoch["number"]), int(time.time() * 1000)
    # MLflow draws the metrics before one stroke side by side: train/loss, validation/accuracy.
    metrics = [Metric(name.replace("_", "/", 1), value, now, step) for name, value in epoch.items() if name != "number"]
    client().log_batch(run_id, metrics=metrics)


def _own_store(workspace: Workspace) -> Path:
    return workspace.root / "mlflow" / "mlflow.db"


def _patiently_at(uri: str, ask: Callable[[], Found]) -> Found:
    server = _server(uri)
    return ask() if server is None else patiently(server, ask)


def _server(uri: str) -> Server | None:
    """The server at this address; none where it is a store in a folder or a database."""
    if not uri.startswith("http"):
        return None
    return Server(
        "MLflow",
        f"MLFLOW_TRACKING_URI={without_password(uri)}",
        otherwise="to use the store in the project folder",
        fault=lambda: no_answer(uri),
    )
