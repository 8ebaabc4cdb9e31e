"""One folder has the history of a registered model: a second one that decides at the same registry is told at once."""

from pathlib import Path
from uuid import uuid4

from filelock import FileLock

from graftline.errors import RegistryRefusedError
from graftline.files import write_atomically
from graftline.tasks.registry.history import record_files, who
from graftline.tasks.registry.versions import Notes, notes_of
from graftline.tasks.tracking.addresses import without_password
from graftline.tasks.tracking.server import client, connect, experiment_of, is_own_store, tracking_uri
from graftline.tasks.workspace import Workspace

# The experiment's tag: the number of the folder that has the model's history, and who made it.
DECIDED_IN = "graftline.decided_in"


def require_own_history(workspace: Workspace, model: str) -> None:
    """Note in the registry that this folder decides about the model. To be asked before a run writes or trains.

    Of two folders that begin at the same moment one is first: MLflow makes an experiment of a name, and its tag, once.
    Raises: RegistryRefusedError if another folder does, or the registry knows of decisions that this one has not.
    """
    connect(workspace)
    ours = f"{_number_of(workspace)} {who()}"
    experiment = experiment_of(workspace, model, tags={DECIDED_IN: ours})
    if client().get_experiment(experiment).tags.get(DECIDED_IN) is None:  # made by an earlier release
        if _lacks_records(workspace, model, notes_of(model)):
            raise _decided_elsewhere(workspace, model, "")
        client().set_experiment_tag(experiment, DECIDED_IN, ours)
    require_known(workspace, model)


def require_known(workspace: Workspace, model: str) -> None:
    """Raises: RegistryRefusedError if the registry says that another folder decides about the model."""
    found = client().get_experiment_by_name(model)
    number, _, by = (found.tags.get(DECIDED_IN, "") if found else "").partition(" ")
    file = _number_file(workspace)
    if number and (not file.exists() or file.read_text(encoding="utf-8").strip() != number):
        raise _decided_elsewhere(workspace, model, f" (of {by})")


def has_no_say(workspace: Workspace, model: str) -> bool:
    """Whether this folder lacks the model's records rightly: another one decides about it, or this one never did.

    Those of its own store it never lacks rightly: who can take them away can take away what says whose they are.
    """
    if is_own_store(workspace):
        return False
    if not _number_file(workspace).exists() and not record_files(workspace, model):
        return True
    try:
        require_known(workspace, model)
    except RegistryRefusedError:
        return True
    return False


def _lacks_records(workspace: Workspace, model: str, notes: Notes) -> bool:
    return notes.newest is not None and not record_files(workspace, model)


def _number_of(workspace: Workspace) -> str:
    file = _number_file(workspace)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(".folder.lock")):
        if not file.exists():
            write_atomically(file, uuid4().hex)
    return file.read_text(encoding="utf-8").strip()


def _number_file(workspace: Workspace) -> Path:
    """The number of the folder's history, which goes where the history goes."""
    return workspace.root / "mlflow" / "history" / "folder"


def _decided_elsewhere(workspace: Workspace, model: str, by: str) -> RegistryRefusedError:
    address = without_password(tracking_uri(workspace))
    return RegistryRefusedError(
        f"{model}: another folder{by} decides about this model at {address}, and mlflow/history here lacks what was"
        " decided; run there, or bring its mlflow/history here (a disk that both share will do), or give the model of"
        f" this folder a name of its own with registry.model; if that folder is gone and nothing was decided, remove"
        f" the tag {DECIDED_IN} of the experiment {model} in MLflow"
    )
