"""What an S3 server answers to large files when it is in trouble is told as for small ones: a run waits, or stops."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from graftline.errors import GraftlineError, ServerAwayError, SettingsError
from graftline.tasks.state.bucket import open_bucket
from graftline.tasks.state.room import Room


class _Faulty(BaseHTTPRequestHandler):
    """Refuses what is sent as its path says, and cuts off what is asked for."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b"<Error><Code>AsTheNameSays</Code></Error>"
        self._answer(int(self.path.rpartition("/")[2].partition("?")[0]), len(content))
        self.wfile.write(content)

    def do_HEAD(self) -> None:
        self._answer(200, 1000)

    def do_GET(self) -> None:
        self._answer(200, 1000)
        self.wfile.write(b"ten bytes.")
        self.close_connection = True

    def _answer(self, status: int, size_bytes: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size_bytes))
        self.send_header("ETag", '"a"')
        self.send_header("Last-Modified", "Sun, 29 Nov 2026 17:00:00 GMT")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Faulty) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-name")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield open_bucket("s3://team/state")
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "error", "said"), [(503, ServerAwayError, "HTTP 503"), (403, SettingsError, "HTTP 403")]
)
def test_a_refused_upload_is_told(
    room: Room, tmp_path: Path, status: int, error: type[GraftlineError], said: str
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(error, match=f"^s3://team/state: the S3 server .*{said}") as told:
        room.upload(str(status), tmp_path / "file")
    assert "a-secret" not in str(told.value)


def test_a_download_that_is_cut_off_again_and_again_is_told(room: Room, tmp_path: Path) -> None:
    with pytest.raises(ServerAwayError, match="does not answer"):
        room.download("a", tmp_path / "file")
