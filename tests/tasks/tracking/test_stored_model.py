"""A registry that is read without MLflow holds what MLflow's client says of it, or nothing is said."""

import base64
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from graftline.tasks.tracking.server import client, connect, tracking_uri
from graftline.tasks.tracking.stored_model import (
    UNUSUAL,
    StoredModel,
    StoredVersion,
    stored_location,
    stored_model,
    stored_run,
)
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, NO_FILES, move_by_hand, register
from tests.support.running_project import free_port, wait_until
from tests.support.tiny_project import surroundings

CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


def by_mlflow(uri: str, model: str) -> StoredModel:
    """The same, as MLflow's own client has it."""
    client = MlflowClient(uri, registry_uri=uri)
    found, versions = client.get_registered_model(model), client.search_model_versions(f"name = '{model}'")
    return StoredModel(
        {name: int(version) for name, version in found.aliases.items()},
        dict(found.tags),
        {int(one.version): _plain(one) for one in versions},
    )


def _plain(version: ModelVersion) -> StoredVersion:
    return StoredVersion(str(version.version), version.run_id or "", version.creation_timestamp, dict(version.tags))


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    """A registry with aliases, tags, notes, a deleted version and another model."""
    register(workspace, "PROMOTE", "HOLD", None, "REJECT")
    move_by_hand(1)
    client = MlflowClient()
    client.delete_model_version(MODEL, "3")
    client.create_registered_model("other")
    return workspace


def test_a_sqlite_store_says_what_the_client_says(filled: Workspace) -> None:
    uri = tracking_uri(filled)
    found = stored_model(uri, MODEL)
    assert found is not None
    assert found == by_mlflow(uri, MODEL)
    assert sorted(found.versions) == [1, 2, 4]
    assert found.aliases == {"champion": 1}
    run_id = found.versions[1].run_id
    assert stored_run(uri, run_id) == ["RUNNING", "active"]
    MlflowClient().delete_run(run_id)
    assert stored_run(uri, run_id) == ["RUNNING", "deleted"]


def test_a_sqlite_store_says_where_mlflow_would_load_a_version_from(filled: Workspace) -> None:
    uri = tracking_uri(filled)
    assert stored_location(uri, MODEL, 2) == MlflowClient().get_model_version_download_uri(MODEL, "2") == NO_FILES
    assert stored_location(uri, MODEL, 9) is None


@pytest.mark.parametrize("model", ["none", "' OR 1=1 --"])
def test_a_model_that_is_not_there_is_none(filled: Workspace, model: str) -> None:
    assert stored_model(tracking_uri(filled), model) is None
    assert stored_run(tracking_uri(filled), model) is None


@pytest.mark.parametrize(
    "uri", ["sqlite:////nowhere/mlflow.db", "postgresql://host/db", "file:///tmp", "sqlite:///{root}/mlflow.db?a=b"]
)
def test_what_is_no_plain_sqlite_file_is_left_to_mlflow(filled: Workspace, uri: str) -> None:
    assert stored_model(uri.format(root=filled.root / "mlflow"), MODEL) is None


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_setting_that_has_mlflow_look_elsewhere_leaves_it_to_mlflow(
    filled: Workspace, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert stored_model(tracking_uri(filled), MODEL) is None
    assert stored_run(tracking_uri(filled), "run") is None


def test_a_damaged_store_is_left_to_mlflow(filled: Workspace, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes((filled.root / "mlflow" / "mlflow.db").read_bytes()[:5000])
    assert stored_model(f"sqlite:///{damaged}", MODEL) is None


@pytest.mark.full
def test_a_server_says_what_the_client_says(filled: Workspace) -> None:
    store, port = tracking_uri(filled), free_port()
    command = ["-m", "mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, *command, "--workers", "1"], cwd=filled.root, env=surroundings(), start_new_session=True
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(uri), seconds=120)
        found = stored_model(uri, MODEL)
        assert found is not None
        assert found == by_mlflow(uri, MODEL) == stored_model(store, MODEL)
        assert stored_run(uri, found.versions[1].run_id) == ["RUNNING", "active"]
        assert stored_location(uri, MODEL, 2) == stored_location(store, MODEL, 2) == NO_FILES
        assert stored_location(uri, MODEL, 9) is None
        assert stored_model(uri, "none") is None
        assert stored_run(uri, "none") is None
    finally:
        _end(server)
    assert stored_model(uri, MODEL) is None


def _answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5):
            return True
    except OSError:
        return False


def _end(server: subprocess.Popen[bytes]) -> None:
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(30)


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str | None]]]:
    """A server's address, and with which credentials it was asked."""
    credentials: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            credentials.append(self.headers["Authorization"])
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/moved"))
                self.end_headers()
                return
            body = json.dumps({"registered_model": {"name": MODEL}, "run": {"info": {}}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", credentials
        server.shutdown()


@pytest.mark.parametrize(
    "given", [{}, {"USERNAME": "ada", "PASSWORD": "pä:ss"}, {"TOKEN": "t"}, {"USERNAME": "ada", "TOKEN": "t"}]
)
def test_a_server_is_shown_the_credentials_that_mlflow_would_show(
    asked: tuple[str, list[str | None]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str]
) -> None:
    uri, credentials = asked
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    MlflowClient(uri, registry_uri=uri).get_registered_model(MODEL)
    assert stored_model(uri, MODEL) == StoredModel({}, {}, {})
    assert len(credentials) == 3
    assert len(set(credentials)) == 1


def test_a_password_in_the_address_reaches_the_server_and_nothing_else(
    asked: tuple[str, list[str | None]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also not what MLflow prints, which Prefect's page keeps."""
    uri, credentials = asked
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in CREDENTIALS:
        monkeypatch.setenv(name, "of another server")  # so that what `connect` sets is put back
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.replace("//", "//ada:p%40ss@"))
    workspace = Workspace(tmp_path)
    assert stored_model(tracking_uri(workspace), MODEL) == StoredModel({}, {}, {})
    assert connect(workspace) == tracking_uri(workspace) == mlflow.get_tracking_uri() == uri
    client().get_registered_model(MODEL)
    wanted = f"Basic {base64.b64encode(b'ada:p@ss').decode()}"
    assert [one for one in credentials if one] == [wanted] * 3
    assert os.environ["MLFLOW_TRACKING_URI"] == uri, "processes that are started find it there"


def test_credentials_in_a_file_or_an_address_are_left_to_mlflow_and_follow_no_redirect(
    asked: tuple[str, list[str | None]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uri, credentials = asked
    monkeypatch.setenv("HOME", str(tmp_path))
    assert stored_model(uri.replace("//", "//ada:secret@"), MODEL) is None
    assert credentials == []
    assert stored_model(f"{uri}/moved", MODEL) is None
    assert len(credentials) == 1
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text("[mlflow]\nmlflow_tracking_username = ada\n")
    assert stored_model(uri, MODEL) is None
    assert len(credentials) == 1
