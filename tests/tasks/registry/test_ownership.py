"""Two folders at one registry: the second is told at once, before it writes anything there, and how to go on."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from graftline.errors import RegistryRefusedError
from graftline.tasks.registry.history import history_folder
from graftline.tasks.registry.ownership import DECIDED_IN, require_own_history
from graftline.tasks.registry.promotion import promote
from graftline.tasks.tracking.server import client, connect
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, register

ELSEWHERE = rf"{MODEL}: another folder.* decides about this model at sqlite:.*, and mlflow/history here lacks"


@pytest.fixture
def other(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A second clone with the same registry."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.root}/mlflow/mlflow.db")
    return Workspace(tmp_path_factory.mktemp("clone"))


def test_a_second_folder_is_told_at_once_with_the_remedies_and_changes_nothing(
    workspace: Workspace, other: Workspace
) -> None:
    for _ in range(2):
        require_own_history(workspace, MODEL)
    register(workspace, "PROMOTE")
    for _ in range(2):
        with pytest.raises(RegistryRefusedError, match=f"{ELSEWHERE}.*move-history.*registry.model"):
            require_own_history(other, MODEL)
        require_own_history(workspace, MODEL)
    with pytest.raises(RegistryRefusedError, match=ELSEWHERE):
        promote(other, MODEL, 1, "by hand")
    assert not history_folder(other, MODEL).exists() or list(history_folder(other, MODEL).glob("*.json")) == []
    require_own_history(other, "another-name")


def test_of_folders_that_begin_at_the_same_moment_one_is_first(workspace: Workspace, tmp_path: Path) -> None:
    def begins(number: int) -> bool:
        root = tmp_path / f"clone {number}"
        root.mkdir()
        try:
            require_own_history(Workspace(root), MODEL)
        except RegistryRefusedError:
            return False
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.root}/mlflow/mlflow.db")
        connect(workspace)
        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(begins, range(8))) == [False] * 7 + [True]


def test_who_brings_the_history_along_goes_on(workspace: Workspace, other: Workspace) -> None:
    require_own_history(workspace, MODEL)
    register(workspace, "PROMOTE")
    shutil.copytree(workspace.root / "mlflow" / "history", other.root / "mlflow" / "history")
    require_own_history(other, MODEL)


def test_a_registry_of_an_earlier_release_is_known_by_the_records_that_it_notes(
    workspace: Workspace, other: Workspace
) -> None:
    register(workspace, "PROMOTE")
    promote(workspace, MODEL, 1, "by hand")
    with pytest.raises(RegistryRefusedError, match=ELSEWHERE):
        require_own_history(other, MODEL)
    require_own_history(workspace, MODEL)
    experiment = client().get_experiment_by_name(MODEL)
    assert experiment is not None
    assert DECIDED_IN in experiment.tags
