"""`graftline serve` over a real registry and real processes: nothing is lost, nothing answered by the wrong version."""

import asyncio
import json
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.serving.clients import Crowd, Seen
from graftline.errors import RegistryRefusedError, SettingsError
from graftline.flows.cli import app
from graftline.flows.servers.commands import tracking_server
from graftline.flows.servers.services import service
from graftline.tasks.serving.request_log import read_served
from graftline.tasks.workspace import Workspace
from tests.browser.pages import screenshot, started_browser
from tests.support.running_project import PROJECT, free_port, wait_until
from tests.support.served import is_up
from tests.support.serving import (
    MODEL,
    Serving,
    kill,
    move_champion,
    processes_of,
    register_seeds,
    serving,
)
from tests.support.tiny_model_files import flip_byte
from tests.support.tiny_models import tiny_texts
from tests.support.tiny_project import connected

TEXTS = tiny_texts(16)[0]
CLIENTS = 12
SECRET = "a-token-that-is-long-enough"
# Within so long an alias that moved has to have an effect, whatever else this machine does.
SWITCH_SECONDS = 120


@dataclass(frozen=True)
class Registry:
    """A project and where its registry keeps versions 1, 2 and 3."""

    workspace: Workspace
    folders: list[Path]

    @property
    def root(self) -> Path:
        return self.workspace.root

    def weights_of(self, version: int) -> Path:
        (weights,) = self.folders[version - 1].rglob("model.safetensors")
        return weights


@pytest.fixture
def registry(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A project with three judged versions, the first of them the champion."""
    workspace = connected(tmp_path, empty_store, monkeypatch)
    folders = register_seeds(workspace, 0, 1, 2)
    return Registry(workspace, folders)


@contextmanager
def crowd(server: Serving) -> Iterator[Crowd]:
    """Clients that ask until the block ends, each text under an id of its own."""
    bodies = [json.dumps({"inputs": TEXTS[n : n + 1 + n % 3]}).encode() for n in range(len(TEXTS) - 3)]
    asking = Crowd(server.port, bodies)
    thread = threading.Thread(target=lambda: asyncio.run(asking.ask(CLIENTS)))
    thread.start()
    try:
        yield asking
    finally:
        asking.stopped = True
        thread.join()


@contextmanager
def tracking_server_of(root: Path) -> Iterator[str]:
    """MLflow's server around the project's store."""
    address = f"http://127.0.0.1:{free_port()}"
    shutil.copy(PROJECT / "mlflow" / "server.yaml", root / "mlflow")
    command, environment = tracking_server(root, address)
    log = root / "mlflow.log"
    with service("MLflow", command, folder=root, environment=environment, log=log):
        wait_until(lambda: is_up(f"{address}/health"))
        yield address


def refused(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["serve", *arguments])


def logged(workspace: Workspace) -> dict[str, dict[str, Any]]:
    now = datetime.now(UTC)
    table = read_served(workspace, MODEL, now - timedelta(days=2), now + timedelta(days=1))
    rows = table.to_pylist()
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def wait_for_version(server: Serving, number: int) -> None:
    wait_until(lambda: server.version == number, SWITCH_SECONDS)


def require_no_old_answers(seen: list[Seen], old: int, new: int) -> None:
    """Whoever asked after somebody had got an answer of the new version got one of it, too."""
    switched = min(one.ended for one in seen if one.version == new)
    assert not [one for one in seen if one.version == old and one.began > switched]


@pytest.mark.full
def test_the_alias_moves_under_clients_and_sigterm_comes_and_no_row_is_lost(registry: Registry) -> None:
    with serving(registry.root) as server:
        alone = {text: server.predict(text)["predictions"][0] for text in TEXTS}
        with crowd(server) as first:
            wait_until(lambda: len(first.seen) > 5 * CLIENTS)
            move_champion(2)
            wait_for_version(server, 2)
            enough = len(first.seen) + 5 * CLIENTS
            wait_until(lambda: len(first.seen) > enough)
        assert first.lost == []
        assert {one.status for one in first.seen} == {200}
        assert {one.version for one in first.seen} == {1, 2}
        require_no_old_answers(first.seen, old=1, new=2)
        wait_until(lambda: len(processes_of(registry.root)) == 1)
        with crowd(server) as last:
            wait_until(lambda: len(last.seen) > 5 * CLIENTS)
            last.stopped = True  # whoever is not answered any more need not come again
            result = server.stop()
    assert processes_of(registry.root) == []
    answers = [one for one in first.seen + last.seen if one.status == 200]
    given = {id_: (one.version, answer) for one in answers for id_, answer in by_id(one)}
    rows = logged(registry.workspace)
    assert given.keys() <= rows.keys()
    assert result["rows"] == {"answered": len(rows), "logged": len(rows), "lost": 0}
    for id_, (version, answer) in given.items():
        assert (rows[id_]["version"], rows[id_]["answer"]) == (version, answer["label"])
        assert rows[id_]["probabilities"] == pytest.approx(list(answer["probabilities"].values()), abs=1e-6)
        assert len(rows[id_]["features"]) == 16
    # Those who were asked together got what they would have got alone.
    for one in first.seen:
        for (_, answer), text in zip(by_id(one), texts_of(one), strict=True):
            if one.version == 1:
                assert answer["probabilities"] == pytest.approx(alone[text]["probabilities"], abs=1e-5)


def by_id(one: Seen) -> list[tuple[str, Any]]:
    return list(zip(one.answer["ids"], one.answer["predictions"], strict=True))


def texts_of(one: Seen) -> list[str]:
    asked: list[str] = json.loads(one.asked)["inputs"]
    return asked


@pytest.mark.full
def test_a_damaged_version_is_refused_and_a_killed_process_started_again_behind_the_token(registry: Registry) -> None:
    flip_byte(registry.weights_of(2))
    (registry.root / "mlflow" / "serving.yaml").write_text("log: {keeps: digest, flush_seconds: 1}\n")
    with serving(registry.root, token=SECRET) as server:
        assert server.ask("/version", authorization="Bearer wrong")[0] == 401
        assert asked_in_a_browser(server.address, "/version", "/metrics", "/invocations") == [401] * 3
        move_champion(2)
        wait_until(lambda: b"graftline_refused_versions_total 1.0" in server.ask("/metrics")[2], SWITCH_SECONDS)
        assert server.version == 1
        assert server.predict(TEXTS[0])["predictions"]
        assert "model.safetensors was changed" in server.log.read_text()
        (process,) = processes_of(registry.root)
        assert SECRET.encode() not in Path(f"/proc/{process}/environ").read_bytes()
        kill(process)
        # Whoever asks now waits for the next one.
        assert server.predict(TEXTS[0], ids=["after the kill"])["predictions"]
        assert b"graftline_restarts_total 1.0" in server.ask("/metrics")[2]
        move_champion(3)
        wait_for_version(server, 3)
        result = server.stop(signal.SIGINT)
    assert result["versions"] == [1, 1, 3]
    row = logged(registry.workspace)["after the kill"]
    assert (row["version"], row["features"], row["facts"], row["input"]) == (1, None, [], None)
    for file in (server.log, *(registry.root / ".graftline" / "logs").iterdir()):
        assert SECRET not in file.read_text()


def asked_in_a_browser(address: str, *paths: str) -> list[int]:
    """The status of each page for whoever types its address."""
    with started_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 400})
        answers = [page.goto(address + path) for path in paths]
        screenshot(page, "serve_asks")
        return [answer.status for answer in answers if answer]


@pytest.mark.full
@pytest.mark.long
def test_what_the_registry_of_a_server_names_is_followed(registry: Registry) -> None:
    with tracking_server_of(registry.root) as address, serving(registry.root, MLFLOW_TRACKING_URI=address) as server:
        before = server.predict(*TEXTS)["predictions"]
        move_champion(3)
        wait_for_version(server, 3)
        assert server.predict(*TEXTS)["predictions"] != before
    # The copies that were compared and loaded are gone.
    assert not list((registry.root / "artifacts" / "scratch").iterdir())


def test_what_cannot_be_served_is_said(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(registry.root)
    for arguments, error, said in (
        ((MODEL, "--version", "9"), RegistryRefusedError, "not in the registry"),
        ((MODEL, "--alias", "nobody"), RegistryRefusedError, "no version carries the alias"),
        (("other",), RegistryRefusedError, "no such registered model"),
        ((MODEL, "--host", "0.0.0.0"), SettingsError, "without a token"),
        ((MODEL, "--version", "1", "--alias", "champion"), SettingsError, "exclude each other"),
    ):
        done = refused(*arguments, "--port", "0")
        assert (done.exit_code, said in done.output) == (error.exit_code, True), done.output
    flip_byte(registry.weights_of(1))
    done = refused(MODEL, "--port", "0")
    assert (done.exit_code, "model.safetensors was changed" in done.output) == (6, True)


def test_a_port_that_is_taken_is_said(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(registry.root)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = refused(MODEL, "--port", str(taken.getsockname()[1]))
    assert (done.exit_code, "cannot be used" in done.output) == (2, True)


def test_settings_that_are_none_are_refused(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(registry.root)
    (registry.root / "mlflow" / "serving.yaml").write_text("limits: {bodymebibytes: 3}\n")
    done = refused(MODEL, "--port", "0")
    assert (done.exit_code, "body_mebibytes" in done.output) == (2, True)
