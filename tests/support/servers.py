"""Real servers for the tests: each on free ports of the loopback interface, each stopped by its process id."""

import http.client
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from graftline.flows.servers.object_store import PORTS, object_store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

START_SECONDS = 60
STOP_SECONDS = 20
RELAY_BYTES = 1 << 16
TRICKLE_SECONDS = 0.02


@dataclass(frozen=True)
class S3Server:
    """An S3 server with one bucket. `environment` is what boto3 and DVC need to reach it."""

    url: str
    bucket: str
    environment: dict[str, str]


@contextmanager
def running_s3(folder: Path, bucket: str = "models") -> Iterator[S3Server]:
    """SeaweedFS as an S3 server that keeps its files in `folder`."""
    ports = free_ports(PORTS)
    keys = {"AWS_ACCESS_KEY_ID": "graftline", "AWS_SECRET_ACCESS_KEY": "graftline-secret"}
    command = object_store(folder, [bucket], ports)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "weed.log").open("wb") as log, _process(command, keys, log.fileno()) as process:
        url = f"http://127.0.0.1:{ports[0]}"
        _wait_until_it_answers(ports[0], process, folder / "weed.log")
        region = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": url}
        yield S3Server(url, bucket, {**keys, **region})


@contextmanager
def running_mlflow(
    folder: Path, *, artifacts: str, environment: Mapping[str, str], store: str | None = None
) -> Iterator[str]:
    """MLflow's server as a team has it: it keeps artifacts at an address that its clients need no keys for.

    `store` is the address of its database, otherwise a file in `folder`.
    """
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store or f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", artifacts]
    told = {**environment, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = folder / "mlflow.log"
    with log.open("wb") as file, _process(command, told, file.fileno()) as process:
        _wait_until_it_answers(port, process, log)
        yield f"http://127.0.0.1:{port}"


def client_of(server: S3Server) -> "S3Client":
    """Whatever the environment says."""
    import boto3

    key, secret = server.environment["AWS_ACCESS_KEY_ID"], server.environment["AWS_SECRET_ACCESS_KEY"]
    return boto3.client(
        "s3", "us-east-1", endpoint_url=server.url, aws_access_key_id=key, aws_secret_access_key=secret
    )  # fmt: skip


@dataclass
class CuttingProxy:
    """Passes bytes on to `target_port` and cuts a connection once it has sent `cut_after_bytes` down, `cuts` times."""

    target_port: int
    cut_after_bytes: int
    cuts: int = 1
    trickle_after_bytes: int | None = None
    """From there on one byte at a time, fifty a second."""
    port: int = 0
    sent_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def running_proxy(proxy: CuttingProxy) -> Iterator[CuttingProxy]:
    """A faulty network in front of a real server."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", proxy.target_port)) as upstream:
                up = threading.Thread(target=_relay_up, args=(self.request, upstream), daemon=True)
                up.start()
                _relay_down(upstream, self.request, proxy)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            server.shutdown()


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _relay_up(client: socket.socket, upstream: socket.socket) -> None:
    try:
        while content := client.recv(RELAY_BYTES):
            upstream.sendall(content)
    except OSError:
        return  # the other side has hung up


def _relay_down(upstream: socket.socket, client: socket.socket, proxy: CuttingProxy) -> None:
    sent_bytes = 0
    while content := upstream.recv(RELAY_BYTES):
        with proxy.lock:
            cut = proxy.cuts > 0 and sent_bytes + len(content) > proxy.cut_after_bytes
            proxy.cuts -= cut
        content = content[: proxy.cut_after_bytes - sent_bytes] if cut else content
        if proxy.trickle_after_bytes is not None and sent_bytes + len(content) > proxy.trickle_after_bytes:
            _trickle(content, client)
        else:
            client.sendall(content)
        sent_bytes += len(content)
        proxy.sent_bytes += len(content)
        if cut:
            client.shutdown(socket.SHUT_RDWR)
            return


def _trickle(content: bytes, client: socket.socket) -> None:
    try:
        for place in range(len(content)):
            client.sendall(content[place : place + 1])
            time.sleep(TRICKLE_SECONDS)
    except OSError:
        return  # who waited has hung up


@contextmanager
def _process(command: list[str], environment: Mapping[str, str], output: int) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a process group of its own, which is ended as a whole."""
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=output, stderr=output, start_new_session=True
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
            try:
                connection.request("GET", "/")
                connection.getresponse()
            except (OSError, http.client.HTTPException):
                time.sleep(0.2)
            else:
                return
    raise AssertionError(f"{process.args!r} did not answer on port {port}: {log.read_text(errors='replace')[-2000:]}")
