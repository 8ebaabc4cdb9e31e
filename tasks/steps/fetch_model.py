"""Step 2, fetch_model: the base model that the lock names, in a store that goes by digest, every byte verified."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from graftline.base_models.lock import LockedModel
from graftline.errors import BaseModelRefusedError
from graftline.tasks.base_models.locking import locked_model
from graftline.tasks.base_models.store import BaseModel, download, put_back, store_of, verify_base_model
from graftline.tasks.pace import SourceUnavailableError
from graftline.tasks.step import step
from graftline.tasks.step_folders import Outcome
from graftline.tasks.step_uses import note_use
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

# A server that restarts is back within a minute.
RETRY_DELAYS_SECONDS = [2.0, 10.0, 30.0]


def is_unavailable(_task: object, _run: object, state: "State[Any]") -> bool:
    """Whether a failed try is worth another: only a lost connection is, a refusal stays one."""
    return isinstance(state.data, SourceUnavailableError)


@step("2 fetch_model", retry_delays_seconds=RETRY_DELAYS_SECONDS, retry_if=is_unavailable)
def fetch_model(workspace: Workspace, uri: str) -> BaseModel:
    """Bring the locked base model into the store, or verify the one that is there.

    A broken download goes on where it stopped, and fetches again what was damaged since. Processes that want the same
    model wait for one download.
    Raises: BaseModelRefusedError if any byte differs from the lock; SourceUnavailableError, which is worth a retry.
    """
    locked = locked_model(workspace, uri)
    store = store_of(workspace)
    folder = store / locked.digest
    note_use(f"{store.name}/{locked.digest}")
    with FileLock(store / f".{locked.digest}.lock"):
        if folder.exists():
            try:
                return _verified(uri, locked, folder, "reused")
            except (BaseModelRefusedError, NotADirectoryError, IsADirectoryError):
                put_back(folder, locked)
        download(workspace, uri, locked, folder)
    return _verified(uri, locked, folder, "ran")


def _verified(uri: str, locked: LockedModel, folder: Path, outcome: Outcome) -> BaseModel:
    model = BaseModel(
        uri, locked.revision, locked.digest, folder, locked.licence, locked.bytes, files=locked.files, outcome=outcome
    )
    verify_base_model(model)
    return model
