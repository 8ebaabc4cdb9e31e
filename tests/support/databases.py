"""A real Postgres for the tests, Debian's, as a user without rights in a folder of its own; and Prefect on it."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from graftline.flows.servers.postgres import HOST, Postgres, account_without_rights
from graftline.flows.servers.services import StopSignal, service, stop_signal, wait_for_page
from tests.support.servers import free_ports

PASSWORD = "graftline:a password of the tests"
START_SECONDS, PREFECT_SECONDS = 60, 300


@contextmanager
def running_postgres(*databases: str) -> Iterator[Postgres]:
    """A server with these databases. Its address for a client: `address(DATABASE, DRIVER)`."""
    # Not in pytest's own folder, which the account without rights could not enter.
    root = Path(tempfile.mkdtemp(prefix="graftline-postgres-"))
    root.chmod(0o711)
    cluster = Postgres(root / "data", free_ports(1)[0], "a password of the tests")
    try:
        cluster.make()
        with (
            stop_signal() as stop,
            service("Postgres", cluster.command, folder=Path("/"), environment=cluster.environment,
                    log=root / "log", account=account_without_rights()) as server,
        ):  # fmt: skip
            cluster.wait(server, stop, START_SECONDS)
            cluster.add_databases(databases)
            yield cluster
    finally:
        shutil.rmtree(root)


@contextmanager
def prefect_on_postgres() -> Iterator[None]:
    """Prefect's server as a team has it, for what runs inside: on SQLite it drops events when several come at once."""
    port, folder = free_ports(1)[0], Path(tempfile.mkdtemp(prefix="graftline-prefect-"))
    try:
        with running_postgres("prefect") as postgres:
            own = {
                **os.environ,
                "PREFECT_HOME": str(folder),
                "PREFECT_API_DATABASE_CONNECTION_URL": postgres.address("prefect", "asyncpg"),
                "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
                "PREFECT_SERVER_UI_ENABLED": "false",
            }
            command = [sys.executable, "-m", "graftline.flows.servers.guarded_prefect", HOST, str(port)]
            page, log = f"http://{HOST}:{port}/api", folder / "log"
            with service("Prefect", command, folder=Path.cwd(), environment=own, log=log) as server:
                wait_for_page(server, f"{page}/admin/version", StopSignal(), PREFECT_SECONDS, password=PASSWORD)
                EventsWorker.drain_all()  # one worker sends the events of a process, to the server of its beginning
                with temporary_settings({PREFECT_API_URL: page, PREFECT_API_AUTH_STRING: PASSWORD}):
                    try:
                        yield
                    finally:
                        EventsWorker.drain_all()
    finally:
        shutil.rmtree(folder)
