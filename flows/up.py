"""`graftline up`: Prefect's server, MLflow's server and one worker on this machine, until someone says stop."""

import socket
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.flows.servers.commands import (
    WORK_POOL,
    attendant,
    prefect_command,
    prefect_environment,
    prefect_server,
    tracking_server,
)
from graftline.flows.servers.services import (
    Service,
    StopRequested,
    StopSignal,
    require_alive,
    service,
    start_again,
    stop_signal,
    wait_for_end,
    wait_for_page,
)
from graftline.flows.servers.sign_in import PASSWORD_FILE, Tickets, link, new_password
from graftline.settings import PARAMS, read_settings

LOOPBACK = "127.0.0.1"
# A cold disk, two cores and a first start that makes two databases.
START_SECONDS = 120
PREPARE_SECONDS = 180
WATCH_SECONDS = 0.5
ATTENDANT = "the attendant"


def up(root: Path, *, prefect_port: int, mlflow_port: int, say: Callable[[str], None]) -> dict[str, JsonValue]:
    """Start everything, `say` the two addresses, and wait; on Ctrl-C or SIGTERM end all of it and return.

    That of Prefect signs one browser in; when it was used, `say` another one.

    Raises: SettingsError if a port is taken, the settings are wrong, or this project's servers run already;
    GraftlineError if a program does not start or ends by itself. Nothing is left running in any case.
    """
    require_project(root)
    require_free_ports({"--prefect-port": prefect_port, "--mlflow-port": mlflow_port})
    pages = {"prefect": f"http://{LOOPBACK}:{prefect_port}", "mlflow": f"http://{LOOPBACK}:{mlflow_port}"}
    began = time.monotonic()
    with only_one(root), stop_signal() as stop, ExitStack() as stack:
        try:
            tickets = Tickets(root / ".graftline" / "sign_in")
            tickets.clear()
            services, begin = _start(stack, stop, root, pages, tickets, say)
            tended = {title: start() for title, start in begin.items()}
            stand(services, stop, tickets, pages, say, tend=partial(start_again, begin, tended, stop, say))
        except StopRequested:
            say("stopping")
        stack.close()
    say("stopped")
    seconds = round(time.monotonic() - began, 1)
    return {**pages, "seconds": seconds, "summary": f"up for {seconds} s"}


def _start(
    stack: ExitStack,
    stop: StopSignal,
    root: Path,
    pages: dict[str, str],
    tickets: Tickets,
    say: Callable[[str], None],
) -> tuple[list[Service], dict[str, Callable[[], Service]]]:
    """Start the servers, prepare the deployments, start the worker; each ends with `stack`, the last one first.

    Returns: they, and what is to be started beside them, and again where it ends.
    """
    logs = root / ".graftline" / "logs"
    password_file = root / ".graftline" / PASSWORD_FILE
    password = new_password(password_file)
    stack.callback(password_file.unlink, missing_ok=True)
    own = prefect_environment(root, pages["prefect"], password)
    prefect_start, prefect_own = prefect_server(root, pages["prefect"], password, tickets.folder)
    tracking_command, tracking_own = tracking_server(root, pages["mlflow"])

    def run(title: str, command: list[str], environment: dict[str, str]) -> AbstractContextManager[Service]:
        log = logs / f"{title.lower().replace(' ', '_')}.log"
        say(f"starting the {title} (log: {log})")
        return service(f"the {title}", command, folder=root, environment=environment, log=log)

    prefect = stack.enter_context(run("Prefect server", prefect_start, prefect_own))
    tracking = stack.enter_context(run("MLflow server", tracking_command, tracking_own))
    wait_for_page(prefect, f"{pages['prefect']}/api/health", stop, START_SECONDS)
    wait_for_page(tracking, f"{pages['mlflow']}/health", stop, START_SECONDS)
    runs = {**own, "MLFLOW_TRACKING_URI": pages["mlflow"]}
    with run("deployments", [sys.executable, "-m", "graftline.flows.servers.deployments"], runs) as deployments:
        wait_for_end(deployments, stop, PREPARE_SECONDS)
    worker_start = prefect_command("worker", "start", "--pool", WORK_POOL, "--name", "this machine")
    worker = stack.enter_context(run("worker", worker_start, runs))
    pool = f"{pages['prefect']}/api/work_pools/{WORK_POOL}"
    wait_for_page(worker, pool, stop, START_SECONDS, says='"READY"', password=password)
    # What is asked on MLflow's page is answered there.
    command = attendant(read_settings(root / PARAMS).registry.model)
    return [prefect, tracking, worker], {ATTENDANT: lambda: stack.enter_context(run("attendant", command, runs))}


def stand(
    services: list[Service],
    stop: StopSignal,
    tickets: Tickets,
    pages: dict[str, str],
    say: Callable[[str], None],
    tend: Callable[[], None] = lambda: None,
) -> None:
    """Say where the pages are, and wait; each link signs one browser in, and the next one is said when it was used.

    Meanwhile `tend` is called again and again.

    Raises: StopRequested when someone says stop; GraftlineError if a program ends by itself.
    """
    ticket = tickets.issue()
    say(f"Prefect  {link(pages['prefect'], ticket)}\nMLflow   {pages['mlflow']}\nCtrl-C stops all.")
    while True:
        _watch(services, stop, partial(tickets.is_used, ticket), tend)
        ticket = tickets.issue()
        say(f"a browser has signed in; for another one:\nPrefect  {link(pages['prefect'], ticket)}")


def _watch(services: list[Service], stop: StopSignal, until: Callable[[], bool], tend: Callable[[], None]) -> None:
    while not until():
        require_alive(services)
        tend()
        stop.pause(WATCH_SECONDS)


def require_project(root: Path) -> None:
    """Raises: SettingsError if the folder is no project."""
    read_settings(root / PARAMS)
    for name in ("prefect.yaml", "mlflow/server.yaml"):
        if not (root / name).is_file():
            raise SettingsError(f"{root / name}: there is no such file; run `graftline up` in the project folder")


def require_free_ports(ports: dict[str, int]) -> None:
    """Raises: SettingsError naming the option whose port is taken."""
    if len(set(ports.values())) < len(ports):
        raise SettingsError(f"{' and '.join(ports)}: both are {next(iter(ports.values()))}; give each its own port")
    for option, port in ports.items():
        with socket.socket() as probe:
            # As the servers do: a port whose last owner has just left may be used again.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except (OSError, OverflowError) as error:
                raise SettingsError(
                    f"port {port} of {LOOPBACK} cannot be used ({error});"
                    f" end the program that listens there or name a free port with {option}"
                ) from None


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on at this moment."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def only_one(root: Path) -> AbstractContextManager[object]:
    """Hold the project: two sets of servers would share one database each."""
    (root / ".graftline").mkdir(exist_ok=True)
    try:
        return FileLock(root / ".graftline" / "up.lock").acquire(timeout=0)
    except Timeout:
        raise SettingsError(
            f"{root}: `graftline up` runs for this project already; use its addresses, or stop it with Ctrl-C first"
        ) from None
