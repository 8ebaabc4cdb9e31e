"""Where MLflow keeps things, and what is said about a server that does not answer."""

from pathlib import Path
from threading import Thread

import mlflow
import pytest
from filelock import FileLock
from mlflow import MlflowClient

from graftline.errors import RegistryRefusedError, ServerAwayError
from graftline.tasks.registry.versions import versions_of
from graftline.tasks.tracking.addresses import without_password
from graftline.tasks.tracking.server import connect, has_registry, model_folder, no_answer, refusing_with_mlflow
from graftline.tasks.workspace import Workspace
from tests.support.refusing_server import refusing_server

__all__ = ["refusing_server"]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://ada:secret@host:5000/x", "https://host:5000/x"),
        ("https://ada:se#c?r@et@host", "https://host"),
        ("postgresql+psycopg2://ada:secret@host/runs", "postgresql+psycopg2://host/runs"),
        ("https://ada:se/cr/et@host/x", "https://host/x"),
        ("https://host/@x", "https://host/@x"),
        ("https://host:5000/@x", "https://host:5000/@x"),
        ("sqlite:////a/b@c/mlflow.db", "sqlite:////a/b@c/mlflow.db"),
    ],
)
def test_a_password_in_an_address_is_not_shown(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_the_copy_of_a_model_on_a_server_lies_where_the_next_run_looks_for_what_killed_ones_left(
    refusing_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow, "get_registry_uri", lambda: refusing_server)
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", lambda artifact_uri, dst_path: dst_path)
    with model_folder(Workspace(tmp_path), "models:/m/1") as copy:
        assert copy.parent == tmp_path / "artifacts" / "scratch"
    assert not copy.exists()


def test_a_refusal_is_an_answer_and_needs_no_password(refusing_server: str) -> None:
    assert no_answer(refusing_server) is None
    assert no_answer(refusing_server.replace("//", "//ada:secret@")) is None


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://127.0.0.1:port", "http://[", "http://a b"])
def test_what_is_no_address_does_not_answer(address: str) -> None:
    assert no_answer(address)


def test_a_server_that_does_not_answer_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@127.0.0.1:9")
    with pytest.raises(ServerAwayError, match=r"MLFLOW_TRACKING_URI=http://127\.0\.0\.1:9: no") as refused:
        connect(Workspace(tmp_path))
    assert "secret" not in str(refused.value)


def test_a_store_elsewhere_is_a_registry_and_the_projects_own_only_once_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    workspace, own = Workspace(tmp_path), tmp_path / "mlflow" / "mlflow.db"
    assert not has_registry(workspace)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{own}")  # as MLflow itself writes it there
    assert not has_registry(workspace)
    for elsewhere in ("sqlite:////elsewhere.db", "postgresql://host/runs", "https://host"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", elsewhere)
        assert has_registry(workspace)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    own.parent.mkdir()
    own.touch()
    assert has_registry(workspace)


def test_mlflows_own_error_is_a_sentence_of_ours(
    workspace: Workspace, refusing_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", refusing_server)
    connect(workspace)
    with pytest.raises(RegistryRefusedError, match="m: MLflow refused"), refusing_with_mlflow("m"):
        versions_of("m")


@pytest.mark.full
def test_of_two_that_open_a_new_store_at_once_one_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # so that what MLflow writes there is taken back
    workspace = Workspace(tmp_path)
    (tmp_path / "mlflow").mkdir()
    with FileLock(tmp_path / "mlflow" / "mlflow.db.lock"):
        other = Thread(target=connect, args=(workspace,), daemon=True)
        other.start()
        other.join(timeout=1)
        assert not (tmp_path / "mlflow" / "mlflow.db").exists(), "whoever opens it makes its tables"
    other.join()
    assert (tmp_path / "mlflow" / "mlflow.db").exists()


def test_tables_that_a_kill_left_half_made_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db.unfinished").write_bytes(b"half of a database")
    connect(Workspace(tmp_path))
    assert MlflowClient().search_registered_models() == []
    assert sorted(path.name for path in (tmp_path / "mlflow").glob("mlflow.db*")) == ["mlflow.db", "mlflow.db.lock"]
