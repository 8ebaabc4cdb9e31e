"""A real Postgres for the tests: Debian's, as a user without rights, in a folder of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graftline.flows.servers.postgres import Postgres, account_without_rights
from graftline.flows.servers.services import service, stop_signal
from tests.support.servers import free_ports

START_SECONDS = 60


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
