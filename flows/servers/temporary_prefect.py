"""A Prefect server for one run of the command line, where no other is named: it ends with the process, however."""

import atexit
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    Settings,
    get_current_settings,
    temporary_settings,
)

from graftline.flows.servers.services import StopSignal, service, wait_for_page
from graftline.tasks.own_code import PACKAGE
from graftline.tasks.workspace import Workspace

# A first start makes the database, on a machine that may be busy; a server that has ended is noticed at once.
START_SECONDS = 180


def use_prefect_server(workspace: Workspace) -> None:
    """Until this process ends, Prefect's server as Prefect itself would start it, unless the settings name one.

    Prefect's own way leaves the server behind when the process is killed, and lets anybody ask it.
    """
    settings = get_current_settings()
    if settings.api.url or not settings.server.ephemeral.enabled:
        return
    # As Prefect does: what is logged last is sent when the process ends, and what began later ends earlier.
    stack = ExitStack()
    atexit.register(stack.close)
    stack.enter_context(_server(workspace, settings))


@contextmanager
def _server(workspace: Workspace, settings: Settings) -> Iterator[None]:
    password = f"graftline:{secrets.token_urlsafe(32)}"
    port = _free_port()
    page = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "graftline.flows.servers.guarded_prefect", "127.0.0.1", str(port)]
    log = workspace.artifacts / "runs" / "prefect_server.log"
    environment = {
        **os.environ,
        **settings.to_environment_variables(exclude_unset=True),
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_API_AUTH_STRING": password,
    }
    with service(
        "Prefect's temporary server", command, folder=PACKAGE.parent, environment=environment, log=log
    ) as server:
        # A page that only ours gives for this password: another run's may have taken the port meanwhile.
        wait_for_page(server, f"{page}/api/admin/version", StopSignal(), START_SECONDS, password=password)
        with temporary_settings({PREFECT_API_URL: f"{page}/api", PREFECT_API_AUTH_STRING: password}):
            yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
