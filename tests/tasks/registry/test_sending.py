"""A version that the gate let pass goes to another registry with its run, its files and its verdict."""

import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
from mlflow import MlflowClient

from graftline.errors import RegistryRefusedError, SettingsError
from graftline.tasks.registry import elsewhere, sending
from graftline.tasks.registry.elsewhere import AsBefore, at_registry
from graftline.tasks.registry.history import read_history
from graftline.tasks.registry.promotion import promote
from graftline.tasks.registry.sending import promote_to
from graftline.tasks.registry.verification import verify
from graftline.tasks.registry.versions import WEIGHTS, champion_of
from graftline.tasks.state.shared import STATE
from graftline.tasks.tracking.addresses import PASSWORD, USERNAME, credentials
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, register
from tests.support.tiny_project import Line, files_of


@pytest.fixture
def production(tmp_path: Path, empty_store: Path) -> tuple[str, str]:
    """Another registry, and where its history lies."""
    (tmp_path / "production").mkdir()
    shutil.copy(empty_store, tmp_path / "production" / "mlflow.db")
    return f"sqlite:///{tmp_path}/production/mlflow.db", str(tmp_path / "production" / "state")


def send(workspace: Workspace, production: tuple[str, str], version: int | None = None) -> int:
    registry, state = production
    return promote_to(workspace, MODEL, version, "goes live", registry=registry, state=state).version


def test_the_champion_becomes_champion_there_with_all_that_it_was_judged_by(
    adapted: Line, production: tuple[str, str]
) -> None:
    workspace = adapted.workspace
    assert send(workspace, production) == 1
    (judged,) = (record for record in read_history(workspace, MODEL) if record.action == "verdict")
    with at_registry(workspace, *production):
        verdict, promoted = read_history(workspace, MODEL)
        assert (verdict.action, verdict.verdict, verdict.champion_after) == ("verdict", "PROMOTE", None)
        assert (promoted.action, promoted.why, promoted.champion_after) == ("promote", "goes live", 1)
        assert f"by record {judged.number} ({judged.sha256[:12]})" in verdict.why
        assert (verdict.files, verdict.bound, verdict.reasons) == (judged.files, judged.bound, judged.reasons)
        assert promoted.files == judged.files
        proof = verify(workspace, MODEL)
        assert proof.findings == ()
        assert proof.compared.files == len(judged.files or {})
        assert champion_of(MODEL) == 1
        there = MlflowClient().get_model_version(MODEL, "1")
        assert there.tags[WEIGHTS] == adapted.checkpoint.weights_sha256
        assert there.run_id != judged.run_id
        run = MlflowClient().get_run(str(there.run_id))
    here = MlflowClient().get_run(str(judged.run_id))
    assert (run.data.params, run.data.metrics) == (here.data.params, here.data.metrics)
    assert run.info.status == "FINISHED"
    # Nothing has changed here, and the environment is as it was.
    assert STATE not in os.environ
    assert verify(workspace, MODEL).findings == ()


def test_what_was_brought_is_brought_once(adapted: Line, production: tuple[str, str]) -> None:
    send(adapted.workspace, production)
    with pytest.raises(RegistryRefusedError, match="is the champion already"):
        send(adapted.workspace, production)
    with at_registry(adapted.workspace, *production):
        assert len(MlflowClient().search_model_versions(f"name = '{MODEL}'")) == 1
        assert len(read_history(adapted.workspace, MODEL)) == 2


def test_a_file_that_was_changed_here_goes_nowhere(adapted: Line, production: tuple[str, str]) -> None:
    changed = files_of(MODEL, 1) / "MLmodel"
    content = changed.read_text()
    changed.write_text(content + "\n")
    try:
        with pytest.raises(RegistryRefusedError, match="MLmodel was changed"):
            send(adapted.workspace, production)
    finally:
        changed.write_text(content)
    with at_registry(adapted.workspace, *production):
        assert not MlflowClient().search_registered_models()


def test_a_champion_there_that_it_was_never_compared_with_is_not_replaced(
    adapted: Line, production: tuple[str, str]
) -> None:
    with at_registry(adapted.workspace, *production):
        register(adapted.workspace, "PROMOTE")
        MlflowClient().set_registered_model_alias(MODEL, "champion", "1")
    with pytest.raises(RegistryRefusedError, match="was never compared with the champion there, version 1"):
        send(adapted.workspace, production)


def test_one_that_was_brought_before_does_not_replace_a_champion_of_since_either(
    adapted: Line, production: tuple[str, str]
) -> None:
    with mock.patch.object(sending, "promote", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        send(adapted.workspace, production)
    with at_registry(adapted.workspace, *production):
        register(adapted.workspace, "PROMOTE")
        promote(adapted.workspace, MODEL, 2, "came first")
    with pytest.raises(RegistryRefusedError, match="was never compared with the champion there, version 2"):
        send(adapted.workspace, production)
    with at_registry(adapted.workspace, *production):
        assert champion_of(MODEL) == 2


def test_each_registry_is_asked_with_its_own_password(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def asked_as(self) -> str | None:
            return os.environ.get(PASSWORD)

    monkeypatch.setattr(elsewhere, "connect", lambda _: os.environ.update(credentials()))
    monkeypatch.setenv(USERNAME, "ann")
    monkeypatch.setenv(PASSWORD, "of-staging")
    here = AsBefore(Client())  # type: ignore[arg-type]
    with at_registry(workspace, "https://ann:of-production@example.org", None):
        assert os.environ[PASSWORD] == "of-production"
        assert here.asked_as() == "of-staging"  # type: ignore[operator]
        assert os.environ[PASSWORD] == "of-production"
    assert os.environ[PASSWORD] == "of-staging"


@pytest.mark.parametrize("verdict", ["HOLD", None])
def test_what_the_gate_did_not_let_pass_is_refused(
    workspace: Workspace, production: tuple[str, str], verdict: str | None
) -> None:
    register(workspace, verdict)  # type: ignore[arg-type]
    with pytest.raises(RegistryRefusedError, match="expected PROMOTE with the digests of its files"):
        send(workspace, production, 1)


def test_the_registry_here_is_no_other_one(workspace: Workspace) -> None:
    register(workspace, "PROMOTE")
    with pytest.raises(SettingsError, match="is the registry here"):
        send(workspace, (f"sqlite:///{workspace.root}/mlflow/mlflow.db", str(workspace.root)), 1)
