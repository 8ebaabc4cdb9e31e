"""What a run does while a server that it needs is away, which servers of the tests are."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from graftline.errors import ServerAwayError, Stopped
from graftline.tasks import patience
from graftline.tasks.patience import Server, is_lost_connection, patient, patiently, until_there
from graftline.tasks.stopping import stoppable
from graftline.tasks.tracking import server as tracking
from graftline.tasks.tracking.server import no_answer
from tests.support.running_project import free_port


class Healthy(BaseHTTPRequestHandler):
    """As MLflow's and Prefect's pages that say that they live."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering(port: int, *, after: float = 0.0) -> Iterator[None]:
    """A server that answers on the port, from so many seconds on."""
    server = HTTPServer(("127.0.0.1", port), Healthy, bind_and_activate=False)

    def begin() -> None:
        server.server_bind()
        server.server_activate()

    def serve() -> None:
        if after:
            time.sleep(after)
            begin()
        server.serve_forever(poll_interval=0.05)

    if not after:
        begin()
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(patience, "POLL_SECONDS", 0.1)
    return free_port()


def at(port: int) -> Server:
    address = f"http://127.0.0.1:{port}"
    return Server("MLflow", f"MLFLOW_TRACKING_URI={address}", "to have none", lambda: no_answer(address))


def test_away_at_the_start_is_said_at_once_with_the_way_on(port: int) -> None:
    began = time.monotonic()
    with pytest.raises(ServerAwayError, match=r"no MLflow server answers there \(.*\); start it with `graftline up`"):
        until_there(at(port))
    assert time.monotonic() - began < 5


def test_a_run_that_has_begun_waits_says_so_and_goes_on(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "SAY_SECONDS", 0.3)
    caplog.set_level(logging.INFO, "graftline.patience")
    with answering(port, after=1.0), patient(1):
        until_there(at(port))
    said = [record.message for record in caplog.records]
    assert "waiting for it, for 60 s at most" in said[0]
    assert "waiting for MLflow: 1 s so far" in said[1]
    assert "MLflow answers again after" in said[-1]


def test_a_server_that_stays_away_ends_the_wait_with_one_sentence(port: int) -> None:
    with patient(1 / 60), pytest.raises(ServerAwayError, match=r"for 1 s; start it .* registry\.wait_for_servers"):
        until_there(at(port))


def test_who_waits_can_be_stopped(port: int) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(Stopped), stoppable(), patient(10):
        until_there(at(port))


def test_a_request_that_was_lost_is_asked_again_when_the_server_is_back(port: int) -> None:
    asked: list[int] = []

    def ask() -> str:
        asked.append(1)
        if len(asked) == 1:
            raise ConnectionResetError("the server went away")
        return "the answer"

    with answering(port):
        assert patiently(at(port), ask) == "the answer"


def test_what_a_server_answers_is_no_reason_to_ask_again(port: int) -> None:
    asked: list[int] = []

    def ask() -> None:
        asked.append(1)
        raise ValueError("no such run")

    with answering(port), pytest.raises(ValueError, match="no such run"):
        patiently(at(port), ask)
    assert len(asked) == 1


def test_a_server_that_lives_and_loses_every_request_is_asked_no_more_than_a_few_times(port: int) -> None:
    asked: list[int] = []

    def ask() -> None:
        asked.append(1)
        raise ConnectionResetError

    with answering(port), pytest.raises(ConnectionResetError):
        patiently(at(port), ask)
    assert len(asked) == patience.LOST_REQUESTS


def test_a_stopped_server_that_takes_connections_and_does_not_answer_is_away(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "HEALTH_TIMEOUT_SECONDS", 0.5)
    with subprocess.Popen([sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]) as process:
        try:
            with patient(1):
                until_there(at(port))
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(ServerAwayError, match="timed out"):
                until_there(at(port))
        finally:
            process.kill()


def test_a_lost_connection_is_known_however_deep_a_library_hides_it() -> None:
    def ask() -> None:
        try:
            httpx.get(f"http://127.0.0.1:{free_port()}")
        except httpx.HTTPError as error:
            raise RuntimeError("the library failed") from error

    with pytest.raises(RuntimeError, match="the library failed") as caught:
        ask()
    assert is_lost_connection(caught.value)
    assert not is_lost_connection(RuntimeError("the library failed"))
