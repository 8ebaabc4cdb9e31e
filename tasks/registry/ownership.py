"""One folder has the history of a registered model: a second one that decides at the same registry is told at once."""

from uuid import uuid4

from graftline.errors import RegistryRefusedError
from graftline.tasks.registry.history import histories_room, record_names, require_not_moved, who
from graftline.tasks.registry.versions import Notes, notes_of
from graftline.tasks.state.shared import STATE, shared_state
from graftline.tasks.tracking.addresses import without_password
from graftline.tasks.tracking.server import client, connect, experiment_of, is_own_store, tracking_uri
from graftline.tasks.workspace import Workspace

# The experiment's tag: the number of the folder that has the model's history, and who made it.
DECIDED_IN = "graftline.decided_in"
# The file of that number, beside the histories.
NUMBER = "folder"


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


def own_this_history(workspace: Workspace, model: str) -> None:
    """Note in the registry that the history of this state decides about the model, which was brought there."""
    client().set_experiment_tag(experiment_of(workspace, model), DECIDED_IN, f"{_number_of(workspace)} {who()}")


def require_known(workspace: Workspace, model: str) -> None:
    """Raises: RegistryRefusedError if the registry says that another folder decides about the model."""
    require_not_moved(workspace, model)
    if (by := decided_elsewhere(workspace, model)) is not None:
        raise _decided_elsewhere(workspace, model, f" (of {by})")


def decided_elsewhere(workspace: Workspace, model: str) -> str | None:
    """Who made the folder that decides about the model, as the registry says, if it is another one than this."""
    found = client().get_experiment_by_name(model)
    number, _, by = (found.tags.get(DECIDED_IN, "") if found else "").partition(" ")
    return by if number and _known_number(workspace) != number else None


def has_no_say(workspace: Workspace, model: str) -> bool:
    """Whether this folder lacks the model's records rightly: another one decides about it, or this one never did.

    Those of its own store it never lacks rightly: who can take them away can take away what says whose they are.
    """
    if is_own_store(workspace):
        return False
    if _known_number(workspace) is None and not record_names(workspace, model):
        return True
    try:
        require_known(workspace, model)
    except RegistryRefusedError:
        return True
    return False


def _lacks_records(workspace: Workspace, model: str, notes: Notes) -> bool:
    return notes.newest is not None and not record_names(workspace, model)


def _number_of(workspace: Workspace) -> str:
    """The number of the history, made at its first use; of several who make it at once, one does."""
    if (known := _known_number(workspace)) is not None:
        return known
    histories_room(workspace).write_once(NUMBER, uuid4().hex.encode())
    made = _known_number(workspace)
    assert made is not None
    return made


def _known_number(workspace: Workspace) -> str | None:
    """The number goes where the history goes."""
    kept = histories_room(workspace).read(NUMBER)
    return kept.content.decode().strip() if kept else None


def _decided_elsewhere(workspace: Workspace, model: str, by: str) -> RegistryRefusedError:
    address, state = without_password(tracking_uri(workspace)), shared_state()
    here = "mlflow/history here" if state is None else f"the history at {STATE}={state.address}"
    return RegistryRefusedError(
        f"{model}: another folder{by} decides about this model at {address}, and {here} lacks what was decided; set"
        f" {STATE} as it is set there; if it is not, have its history brought to where a team reaches it, with"
        " `graftline move-history`, or run there, or give the model of this folder a name of its own with"
        f" registry.model; if that folder is gone and nothing was decided, remove the tag {DECIDED_IN} of the"
        f" experiment {model} in MLflow"
    )
