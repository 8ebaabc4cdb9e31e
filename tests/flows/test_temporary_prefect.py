"""Prefect's server for one run: the one that was started, not another that has taken its port meanwhile."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prefect.settings import get_current_settings

from graftline.errors import GraftlineError
from graftline.flows.servers import temporary_prefect
from graftline.flows.servers.services import Service
from graftline.tasks.workspace import Workspace


class AnotherServer(BaseHTTPRequestHandler):
    """Answers as the server of a run beside this one would, which has another password."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_server_that_has_taken_the_port_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def ended(title: str, *_: object, log: Path, **__: object) -> Iterator[Service]:
        process = subprocess.Popen(["true"])
        process.wait()
        yield Service(title, process, log)

    with HTTPServer(("127.0.0.1", 0), AnotherServer) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        monkeypatch.setattr(temporary_prefect, "_free_port", lambda: other.server_port)
        monkeypatch.setattr(temporary_prefect, "service", ended)
        server = temporary_prefect._server(Workspace(tmp_path), get_current_settings())
        with pytest.raises(GraftlineError, match="ended by itself"), server:
            pass
        other.shutdown()
