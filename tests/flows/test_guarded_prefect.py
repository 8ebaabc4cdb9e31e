"""Who may ask Prefect's server of `graftline up`: the guard before it, tickets, and what no run can bring along."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from graftline.flows.servers.commands import POOL_TEMPLATE, prefect_server
from graftline.flows.servers.guarded_prefect import guarded
from graftline.flows.servers.sign_in import MOST_BYTES, PAGE, SCRIPT, Tickets, link, new_password, sign_in_app

HERE = "http://127.0.0.1:4200"


@pytest.fixture
def tickets(tmp_path: Path) -> Tickets:
    tickets = Tickets(tmp_path / "sign_in")
    tickets.clear()
    return tickets


@pytest.fixture
def client(tickets: Tickets) -> TestClient:
    async def answer(_: Request) -> PlainTextResponse:
        return PlainTextResponse("prefect")

    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    prefect = Starlette(routes=[Route("/{path:path}", answer), WebSocketRoute("/{path:path}", talk)])
    return TestClient(guarded(prefect, sign_in_app(tickets, "graftline:p")), base_url=HERE)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4200", "127.0.0.1.evil.example", "0.0.0.0:4200", ""])
def test_a_name_that_somebody_gave_this_machine_is_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/api/flows/filter", "/sign-in"):
        assert client.get(path, headers={"Host": host}).status_code == 400
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/events/out", headers={"Host": host}):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:4200", "LOCALHOST"])
def test_this_machine_is_answered_and_in_no_frame(client: TestClient, host: str) -> None:
    answer = client.get("/api/health", headers={"Host": host})
    assert (answer.text, answer.headers["x-frame-options"]) == ("prefect", "DENY")
    with client.websocket_connect("/api/events/out", headers={"Host": host}):
        pass


def test_a_ticket_is_good_once(client: TestClient, tickets: Tickets) -> None:
    ticket = tickets.issue()
    assert not tickets.is_used(ticket)
    assert redeem(client, ticket) == (200, "graftline:p")
    assert tickets.is_used(ticket)
    assert redeem(client, ticket) == (403, None)


def test_of_many_who_come_at_once_with_one_ticket_one_gets_in(tickets: Tickets) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(50):
            assert sorted(pool.map(tickets.use, [tickets.issue()] * 8)) == [False] * 7 + [True]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:4201", "https://127.0.0.1:4200", "null", None]
)
def test_a_page_of_another_origin_learns_nothing_and_uses_up_nothing(
    client: TestClient, tickets: Tickets, origin: str | None
) -> None:
    ticket = tickets.issue()
    assert redeem(client, ticket, origin=origin) == (403, None)
    assert redeem(client, ticket) == (200, "graftline:p")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"ticket": null}', b'{"ticket": ""}', b'{"ticket": "../x"}', b"[" * MOST_BYTES, b"x" * 10**6]
)
def test_what_is_no_ticket_is_refused(client: TestClient, body: bytes) -> None:
    assert client.post("/sign-in", content=body, headers={"Origin": HERE}).status_code == 403


def test_tickets_of_an_earlier_start_are_void(client: TestClient, tickets: Tickets) -> None:
    ticket = tickets.issue()
    tickets.clear()
    assert redeem(client, ticket) == (403, None)


def test_no_file_holds_a_ticket_and_only_its_owner_reads_the_password(tmp_path: Path, tickets: Tickets) -> None:
    ticket, file = tickets.issue(), tmp_path / "password"
    file.write_text("an old one that everybody may read")
    file.chmod(0o644)
    password = new_password(file)
    assert file.read_text(encoding="utf-8") == password
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(tickets.folder.stat().st_mode) == 0o700
    for found in tickets.folder.iterdir():
        assert ticket not in found.name
        assert found.read_bytes() == b""


def test_no_command_line_which_every_user_can_read_holds_the_password(tmp_path: Path) -> None:
    command, environment = prefect_server(tmp_path, HERE, "graftline:p", tmp_path / "sign_in")
    assert "graftline:p" not in " ".join(command)
    assert environment["PREFECT_SERVER_API_AUTH_STRING"] == environment["PREFECT_API_AUTH_STRING"] == "graftline:p"


def test_the_page_that_signs_in_runs_its_own_script_alone_and_the_ticket_is_in_no_request(client: TestClient) -> None:
    policy = client.get("/sign-in").headers["content-security-policy"]
    assert "default-src 'none'; script-src 'sha256-" in policy
    assert PAGE.count("<script") == 1
    assert "</" not in SCRIPT
    address, _, fragment = link(HERE, "ticket").partition("#")
    assert (address, fragment) == (f"{HERE}/sign-in", "ticket")


def test_the_work_pool_has_no_place_for_what_a_run_brings() -> None:
    assert "{{" not in json.dumps(POOL_TEMPLATE)
    assert POOL_TEMPLATE["variables"] == {"type": "object", "properties": {}, "additionalProperties": False}


def redeem(client: TestClient, ticket: str, *, origin: str | None = HERE) -> tuple[int, str | None]:
    headers = {} if origin is None else {"Origin": origin}
    answer = client.post("/sign-in", json={"ticket": ticket}, headers=headers)
    return answer.status_code, answer.json().get("password")
