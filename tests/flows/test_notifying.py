"""Messages by Prefect's blocks, each tried against a small receiver of its own."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import flow
from prefect.blocks.notifications import AppriseNotificationBlock, CustomWebhookNotificationBlock
from pydantic import JsonValue, SecretStr

from graftline.errors import DataRefusedError, SettingsError
from graftline.flows.notifying import notify, tell_failure
from graftline.flows.run_page import of_verdict, told
from graftline.settings.notifications import NOTIFICATIONS, read_notifications

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("prefect_server")]
TOKEN = "t0ken-of-the-block"


@contextmanager
def http_receiver() -> Iterator[tuple[int, list[tuple[dict[str, str], dict[str, Any]]]]]:
    """Its port, and the headers and JSON of what came."""
    got: list[tuple[dict[str, str], dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            got.append(({name.lower(): value for name, value in self.headers.items()}, json.loads(content)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port, got
        finally:
            server.shutdown()


@contextmanager
def smtp_receiver() -> Iterator[tuple[int, list[str]]]:
    """Its port, and the mails that came."""
    got: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 receiver")
            while line := self.rfile.readline().decode().strip():
                if line.upper() == "DATA":
                    self._say("354 go on")
                    lines = []
                    while (text := self.rfile.readline().decode()) not in (".\r\n", ""):
                        lines.append(text)
                    got.append("".join(lines))
                self._say("221 bye" if line.upper() == "QUIT" else "250 receiver")

        def _say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1], got
        finally:
            server.shutdown()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mlflow").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tell(project: Path, **blocks: list[str]) -> None:
    (project / NOTIFICATIONS).write_text(yaml.safe_dump(blocks))


def webhook(port: int, name: str) -> str:
    CustomWebhookNotificationBlock(  # type: ignore[call-arg]  # its defaults are pydantic's of version 1
        name=name,
        url=f"http://127.0.0.1:{port}/",
        json_data={"text": "{{subject}} | {{body}}"},
        headers={"x-token": "{{token}}"},
        secrets={"token": TOKEN},  # type: ignore[arg-type]
    ).save(name, overwrite=True)
    return f"custom-webhook/{name}"


def test_a_password_in_an_address_that_failed_is_told_to_nobody(project: Path) -> None:
    with http_receiver() as (port, got):
        tell(project, failure=[webhook(port, "hook")])
        failed = "asked postgresql://ada:pass@db/runs and https://token@host:1/x, see http://host/a@b"
        notify("failure", "adapt", failed)
    ((_, message),) = got
    assert message["text"].endswith("asked postgresql://db/runs and https://host:1/x, see http://host/a@b")


@pytest.mark.parametrize("occasion", ["verdict", "waiting_approval", "failure", "alarm"])
def test_a_webhook_gets_what_it_is_named_for_and_its_secret_is_the_blocks(project: Path, occasion: Any) -> None:
    with http_receiver() as (port, got):
        block = webhook(port, "hook")
        tell(project, **{occasion: [block]})
        assert notify(occasion, "reviews v3", "all is well") == [block]
        for other in {"verdict", "waiting_approval", "failure", "alarm"} - {occasion}:
            assert notify(other, "reviews v3", "nobody") == []  # type: ignore[arg-type]
    ((headers, message),) = got
    assert message["text"].startswith("reviews v3: ")
    assert message["text"].endswith(" | all is well")
    assert headers["x-token"] == TOKEN
    assert TOKEN not in (project / NOTIFICATIONS).read_text()


def test_a_mail_comes_with_subject_and_text(project: Path) -> None:
    with smtp_receiver() as (port, mails):
        address = f"mailto://127.0.0.1:{port}?from=graftline@example.org&to=team@example.org&mode=insecure"
        Mail(url=SecretStr(address)).save("team", overwrite=True)
        tell(project, alarm=["mail/team"])
        assert notify("alarm", "reviews version 3", "facts on 2026-01-07") == ["mail/team"]
    (mail,) = mails
    assert "Subject: reviews version 3: alarm" in mail
    assert "team@example.org" in mail


def test_apprise_s_json_form_is_taken_by_a_receiver(project: Path) -> None:
    with http_receiver() as (port, got):
        Mail(url=SecretStr(f"json://127.0.0.1:{port}/")).save("json", overwrite=True)
        tell(project, verdict=["mail/json"])
        notify("verdict", "reviews v3 PROMOTE", "better by 0.02")
    assert got[0][1]["title"] == "reviews v3 PROMOTE: verdict"
    assert got[0][1]["message"] == "better by 0.02"


def test_what_cannot_be_sent_is_said_without_its_address_and_ends_no_run(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with http_receiver() as (port, _):
        block = webhook(port, "gone")
    Mail(url=SecretStr(f"mailto://127.0.0.1:{port}?from=a@example.org&to=b@example.org&mode=insecure")).save("gone")
    tell(project, failure=[block, "mail/gone", "custom-webhook/never-made"])
    assert notify("failure", "reviews", "it failed") == []
    assert "could not be told" in caplog.text
    assert TOKEN not in caplog.text
    assert str(port) not in "".join(record.getMessage() for record in caplog.records if record.name.startswith("graft"))


def test_a_run_that_ends_tells_its_verdict_and_one_that_fails_why(project: Path) -> None:
    judged: dict[str, JsonValue] = {"model": "reviews", "version": 3, "verdict": "HOLD", "reasons": ["few rows"]}

    @flow(name="told", persist_result=False, on_failure=[tell_failure])
    @told(of_verdict)
    def ends(fails: bool) -> dict[str, JsonValue]:
        if fails:
            raise DataRefusedError("data/rows.csv: no rows")
        return judged

    with http_receiver() as (port, got):
        block = webhook(port, "both")
        tell(project, verdict=[block], failure=[block])
        ends(False)
        with pytest.raises(DataRefusedError):
            ends(True)
    texts = [message["text"] for _, message in got]
    assert texts[0] == "reviews v3 HOLD: verdict | HOLD: few rows"
    assert "data/rows.csv: no rows" in texts[1]


def test_a_file_that_names_something_else_is_refused_with_the_key(project: Path) -> None:
    tell(project, alarms=["custom-webhook/hook"])
    with pytest.raises(SettingsError, match="alarms"):
        read_notifications(project / NOTIFICATIONS)
    tell(project, alarm=["https://hooks.example.org/secret"])
    with pytest.raises(SettingsError, match="alarm"):
        read_notifications(project / NOTIFICATIONS)


class Mail(AppriseNotificationBlock):
    """Any address that apprise knows."""

    _block_type_name = "Mail"
