"""Over real sockets: who holds a connection and says nothing takes it from nobody else."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from graftline.tasks.serving import connections
from graftline.tasks.serving.access import guarded
from graftline.tasks.serving.connections import limited_connections
from tests.support.running_project import wait_until

HEAD = b"POST / HTTP/1.1\r\nhost: localhost\r\n"
SECONDS = 0.3


async def _length_of_body(request: Request) -> Response:
    await asyncio.sleep(2 * SECONDS)
    return Response(str(len(await request.body())))


@contextmanager
def served(most: int = 100) -> Iterator[tuple[str, int]]:
    app = Starlette(routes=[Route("/", _length_of_body, methods=["POST"])])
    protocol = limited_connections(most, SECONDS)
    config = uvicorn.Config(
        guarded(app, token=None, hosts=("localhost",)), http=protocol, ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        thread.start()
        wait_until(lambda: server.started)
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def answer(connection: socket.socket) -> bytes:
    connection.settimeout(60)
    found = b""
    try:
        while part := connection.recv(65_536):
            found += part
            if b"\r\n\r\n" in found and not found.endswith(b"\r\n\r\n"):
                break
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("said", [b"", b"POST / HT", HEAD])
def test_a_connection_on_which_no_request_comes_is_closed(said: bytes) -> None:
    with served() as address, socket.create_connection(address) as idle:
        idle.sendall(said)
        assert answer(idle) == b""


def test_nor_does_the_next_request_of_a_connection_keep_it_open() -> None:
    with served() as address, socket.create_connection(address) as one:
        one.sendall(HEAD + b"content-length: 2\r\n\r\nab")
        assert answer(one).endswith(b"2")
        one.sendall(HEAD)
        assert answer(one) == b""


def test_a_request_may_take_longer_than_its_head() -> None:
    with served() as address, socket.create_connection(address) as slow:
        slow.sendall(HEAD + b"content-length: 2\r\n\r\n")
        threading.Timer(1.5 * SECONDS, slow.sendall, [b"ab"]).start()
        assert answer(slow).endswith(b"2")


def test_connections_beyond_the_limit_are_closed_and_the_others_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SPARE", 0)
    with served(2) as address:
        first, second = socket.create_connection(address), socket.create_connection(address)
        with first, second, socket.create_connection(address) as third:
            assert answer(third) == b""
            for one in (first, second):
                one.sendall(HEAD + b"content-length: 2\r\n\r\nab")
            assert [answer(one)[-1:] for one in (first, second)] == [b"2", b"2"]


def test_a_very_long_head_is_refused() -> None:
    with served() as address, socket.create_connection(address) as long:
        long.sendall(HEAD + b"x: " + b"y" * 200_000)
        assert b"400" in answer(long)[:20]


def test_a_body_with_two_lengths_is_refused_and_its_connection_ends() -> None:
    with served() as address, socket.create_connection(address) as two:
        two.sendall(HEAD + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + HEAD)
        said = answer(two)
        assert said.startswith(b"HTTP/1.1 400")
        assert b"expected one of them" in said
        assert answer(two) == b""
