"""A history is read without MLflow where that shows the same, and left to MLflow where something is to do or to say."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from graftline.errors import RegistryRefusedError
from graftline.tasks.registry import carrying_out
from graftline.tasks.registry.approval import Approval
from graftline.tasks.registry.carrying_out import read_settled
from graftline.tasks.registry.history import history_folder
from graftline.tasks.registry.promotion import promote, record_verdict, repair, rollback
from graftline.tasks.registry.versions import CHAMPION, NEWEST, champion_of
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, move_by_hand, record_file, register
from tests.support.tiny_model_files import flip_byte


@pytest.fixture
def decided(workspace: Workspace) -> Workspace:
    """Two champions after each other, and the way back."""
    register(workspace, "PROMOTE", "PROMOTE", "HOLD")
    promote(workspace, MODEL, 1, "a test")
    promote(workspace, MODEL, 2, "a test")
    rollback(workspace, MODEL, "a test")
    return workspace


def test_what_is_settled_is_read_as_mlflow_has_it(decided: Workspace) -> None:
    assert read_settled(decided, MODEL) == (repair(decided, MODEL), champion_of(MODEL))


@pytest.mark.parametrize("name", ["none", "../tiny", ""])
def test_a_model_that_is_not_there_is_left_to_mlflow_and_gets_no_folder(decided: Workspace, name: str) -> None:
    before = sorted(path.name for path in history_folder(decided, MODEL).parent.iterdir())
    assert read_settled(decided, name) is None
    assert sorted(path.name for path in history_folder(decided, MODEL).parent.iterdir()) == before


def test_an_alias_that_was_moved_or_removed_is_left_to_mlflow(decided: Workspace) -> None:
    move_by_hand(3)
    assert read_settled(decided, MODEL) is None
    MlflowClient().delete_registered_model_alias(MODEL, CHAMPION)
    assert read_settled(decided, MODEL) is None
    move_by_hand(1)
    assert read_settled(decided, MODEL) is not None


def test_the_registrys_note_of_the_newest_record_is_looked_at(decided: Workspace) -> None:
    MlflowClient().delete_registered_model_tag(MODEL, NEWEST)
    assert read_settled(decided, MODEL) is None
    MlflowClient().set_registered_model_tag(MODEL, NEWEST, f"4 {'0' * 64}")
    assert read_settled(decided, MODEL) is None


def test_what_a_kill_left_is_left_to_mlflow(decided: Workspace) -> None:
    draft = history_folder(decided, MODEL) / ".000007.x.draft"
    draft.touch()
    assert read_settled(decided, MODEL) is None
    draft.unlink()
    newest = record_file(decided, MODEL, 6).with_suffix(".done")
    newest.rename(newest.with_suffix(".kept"))
    assert read_settled(decided, MODEL) is None


@pytest.mark.parametrize("damage", [Path.unlink, flip_byte])
def test_a_record_that_was_edited_or_removed_is_refused(decided: Workspace, damage: object) -> None:
    assert callable(damage)
    damage(record_file(decided, MODEL, 2))
    with pytest.raises(RegistryRefusedError, match="expected an unbroken chain of records"):
        read_settled(decided, MODEL)


def test_a_deadline_is_left_to_mlflow_once_it_was_missed(decided: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    register(decided, None)
    record_verdict(
        decided, MODEL, version=4, verdict="PROMOTE", reasons=("better",), rival=1, evaluation_sha256="e",
        policy_sha256="p", approval=Approval(3600),
    )  # fmt: skip
    assert read_settled(decided, MODEL) == (repair(decided, MODEL), 1)
    monkeypatch.setattr(carrying_out, "LATE_SECONDS", -7200)
    assert read_settled(decided, MODEL) is None
    assert repair(decided, MODEL)[-1].why.startswith("no answer by ")
    assert read_settled(decided, MODEL) == (repair(decided, MODEL), 1)
