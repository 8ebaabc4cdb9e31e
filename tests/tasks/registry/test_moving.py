"""A history that is moved to a team goes on where a kill ended the move, and nothing is decided beside it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from mlflow import MlflowClient

from graftline.errors import RegistryRefusedError
from graftline.tasks.registry import moving
from graftline.tasks.registry.brought import Registries
from graftline.tasks.registry.history import read_history
from graftline.tasks.registry.moving import Moved, move_history
from graftline.tasks.registry.ownership import own_this_history
from graftline.tasks.registry.promotion import promote
from graftline.tasks.registry.removal import remove_version, surplus_versions
from graftline.tasks.registry.verification import verify
from graftline.tasks.registry.versions import champion_of, get_version, versions_of
from graftline.tasks.state.shared import STATE, shared_state
from graftline.tasks.tracking.server import connect
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, judge
from tests.support.tiny_project import Line, forget_servers


class KilledError(BaseException):
    """As if the process had ended here."""


@pytest.fixture
def project(adapted: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Versions 1 and 3 with files; 2 and 4 were removed, the last one with a record of it."""
    root = shutil.copytree(adapted.workspace.root, tmp_path / "project", ignore=shutil.ignore_patterns("artifacts"))
    (root / "artifacts" / "runs").mkdir(parents=True)
    workspace = Workspace(root)
    forget_servers(monkeypatch)
    connect(workspace)
    client, first = MlflowClient(), get_version(MODEL, 1)
    for _ in range(3):
        client.create_model_version(MODEL, str(first.source), first.run_id, tags=dict(first.tags))
    client.delete_model_version(MODEL, "2")
    judge(workspace, 4, "REJECT")
    (surplus,) = surplus_versions(workspace, MODEL, keep=0)
    assert remove_version(workspace, surplus, keep=0)
    return workspace


@pytest.fixture
def team(project: Workspace, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Moved]:
    """Moves the history. A store in another folder does here; a server is in tests/flows/test_two_machines.py."""
    (tmp_path / "team").mkdir()
    shutil.copy(empty_store, tmp_path / "team" / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/team/mlflow.db")
    monkeypatch.setenv(STATE, str(tmp_path / "team" / "state"))
    monkeypatch.setattr(moving, "_require_team", lambda _: shared_state())

    def move() -> Moved:
        connect(project)
        return move_history(project, MODEL)

    return move


def kill(*_: object, **__: object) -> NoReturn:
    raise KilledError


def kill_at_the_last_version(registries: Registries, version: object, files: Path) -> int:
    if getattr(version, "version", None) in (3, "3"):
        raise KilledError
    return BRING(registries, version, files)  # type: ignore[arg-type]


BRING = Registries.version


@pytest.mark.parametrize(
    ("place", "name", "ends"),
    [
        (Registries, "version", kill_at_the_last_version),
        (moving, "_bring_records", kill),
        (moving, "own_this_history", kill),
        (moving, "verify", None),
        (Registries, "remove_gaps", kill),
    ],
)
def test_a_move_that_was_killed_anywhere_goes_on_with_the_next_one(
    project: Workspace,
    team: Callable[[], Moved],
    monkeypatch: pytest.MonkeyPatch,
    place: object,
    name: str,
    ends: Callable[..., object] | None,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(place, name, ends or verify_here_then_be_killed())
        with pytest.raises(KilledError):
            team()
    moved = team()
    assert moved.proof.findings == ()
    assert sorted(versions_of(MODEL)) == [1, 3]
    assert champion_of(MODEL) == 1
    # The number of the version that was removed last is not given to another one.
    client = MlflowClient()
    assert int(client.create_model_version(MODEL, "s3://nowhere/model").version) > 4
    assert verify(project, MODEL).findings == ()


def verify_here_then_be_killed() -> Callable[..., object]:
    asked: list[object] = []

    def look(workspace: Workspace, model: str) -> object:
        asked.append(model)
        if len(asked) == 2:
            raise KilledError
        return verify(workspace, model)

    return look


def test_what_is_decided_in_the_folder_meanwhile_is_refused_not_lost(
    project: Workspace, team: Callable[[], Moved], monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide_here(workspace: Workspace, model: str) -> None:
        own_this_history(workspace, model)
        with moving._own_store(workspace), pytest.raises(RegistryRefusedError, match="another process has been moving"):
            promote(workspace, model, 3, "at the same moment")

    monkeypatch.setattr("graftline.tasks.registry.history.LOCK_SECONDS", 0.2)
    monkeypatch.setattr(moving, "own_this_history", decide_here)
    assert team().proof.findings == ()
    here = read_history(project, MODEL)
    with moving._own_store(project), pytest.raises(RegistryRefusedError, match="its history was moved to"):
        read_history(project, MODEL)
    assert [record.action for record in here] == ["verdict", "verdict", "remove"]
