"""`graftline team`: all servers of a team on one machine, with workers, until someone says stop."""

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import JsonValue

from graftline.flows.servers.checkout import PROJECTS
from graftline.flows.servers.commands import (
    BASIC_AUTH,
    WORK_POOL,
    attendant,
    guarded_prefect,
    prefect_command,
    prefect_environment_in,
    team_tracking_server,
)
from graftline.flows.servers.guarded_prefect import MORE_HOSTS
from graftline.flows.servers.object_store import PORTS, object_store, s3_environment
from graftline.flows.servers.postgres import Postgres, account_without_rights
from graftline.flows.servers.services import (
    Service,
    StopRequested,
    StopSignal,
    service,
    start_again,
    stop_signal,
    wait_for_end,
    wait_for_page,
)
from graftline.flows.servers.sign_in import Tickets
from graftline.flows.servers.team_secrets import TeamSecrets, kept_secrets, write_secretly
from graftline.flows.servers.tracking_accounts import ADMIN, WORKER, add_account
from graftline.flows.up import (
    ATTENDANT,
    LOOPBACK,
    PREPARE_SECONDS,
    START_SECONDS,
    free_ports,
    only_one,
    require_free_ports,
    require_project,
    stand,
)
from graftline.settings import PARAMS, read_settings

# The databases, one for each program that has tables, and the buckets.
DATABASES = ("prefect", "mlflow", "mlflow_accounts")
BUCKET = "graftline"
STATE = "GRAFTLINE_STATE"


@dataclass(frozen=True)
class Team:
    """Where a team's servers lie and listen."""

    root: Path
    """The project whose deployments are made."""
    folder: Path
    """What outlives a stop: databases, objects, secrets, and the workers' folders."""
    prefect_port: int
    mlflow_port: int
    s3_port: int
    workers: int = 2
    hosts: Sequence[str] = ()
    """The names by which a proxy asks for the pages."""
    secrets: TeamSecrets = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        object.__setattr__(self, "secrets", kept_secrets(self.folder / "secrets.json"))

    @property
    def pages(self) -> dict[str, str]:
        return {
            "prefect": f"http://{LOOPBACK}:{self.prefect_port}",
            "mlflow": f"http://{LOOPBACK}:{self.mlflow_port}",
            "s3": f"http://{LOOPBACK}:{self.s3_port}",
        }

    @property
    def environment_file(self) -> Path:
        """What a second machine needs, to be sourced by a shell."""
        return self.folder / "environment"

    @property
    def client(self) -> dict[str, str]:
        """The variables of who works with these servers, as a worker does."""
        secrets, pages = self.secrets, self.pages
        return {
            "PREFECT_API_URL": f"{pages['prefect']}/api",
            "PREFECT_API_AUTH_STRING": secrets.prefect,
            "MLFLOW_TRACKING_URI": pages["mlflow"],
            "MLFLOW_TRACKING_USERNAME": WORKER,
            "MLFLOW_TRACKING_PASSWORD": secrets.tracking_worker,
            STATE: os.environ.get(STATE, f"s3://{BUCKET}/state"),
            **s3_environment(pages["s3"], secrets.s3_key, secrets.s3_secret),
        }


def team(place: Team, *, say: Callable[[str], None]) -> dict[str, JsonValue]:
    """Start Postgres, S3, MLflow, Prefect, the deployments and the workers; on Ctrl-C or SIGTERM end all of it.

    What they keep stays for the next start. A worker that ends by itself is started again.
    Raises: SettingsError if a program is missing, a port is taken, or this project's servers run already;
    GraftlineError if a program does not start or a server ends by itself. Nothing is left running in any case.
    """
    require_project(place.root)
    ports = {"--prefect-port": place.prefect_port, "--mlflow-port": place.mlflow_port, "--s3-port": place.s3_port}
    require_free_ports(ports)
    began = time.monotonic()
    with only_one(place.root), stop_signal() as stop, ExitStack() as stack:
        try:
            tickets = Tickets(place.folder / "sign_in")
            tickets.clear()
            starter = Starter(place, stack, stop, say)
            servers = _start_servers(starter, tickets)
            begin = {
                f"worker {number}": partial(_start_worker, starter, number) for number in range(1, place.workers + 1)
            }
            begin[ATTENDANT] = partial(_start_attendant, starter)
            tended = {title: start() for title, start in begin.items()}
            write_secretly(place.environment_file, _as_shell(place.client))
            say(f"what another machine, or another terminal, needs: . {shlex.quote(str(place.environment_file))}")
            stand(servers, stop, tickets, place.pages, say, tend=partial(start_again, begin, tended, stop, say))
        except StopRequested:
            say("stopping")
        stack.close()
    say("stopped")
    seconds = round(time.monotonic() - began, 1)
    return {**place.pages, "seconds": seconds, "summary": f"up for {seconds} s"}


@dataclass(frozen=True)
class Starter:
    """Starts programs that end with `stack`, the last one first."""

    place: Team
    stack: ExitStack
    stop: StopSignal
    say: Callable[[str], None]

    def start(self, title: str, command: list[str], environment: Mapping[str, str], **options: object) -> Service:
        log = self.place.folder / "logs" / f"{title.lower().replace(' ', '_')}.log"
        self.say(f"starting {title} (log: {log})")
        folder = options.pop("folder", self.place.folder)
        assert isinstance(folder, Path)
        folder.mkdir(parents=True, exist_ok=True)
        running = service(title, command, folder=folder, environment=environment, log=log, **options)  # type: ignore[arg-type]
        return self.stack.enter_context(running)

    def wait(self, server: Service, address: str, **named: str) -> None:
        wait_for_page(server, address, self.stop, START_SECONDS, **named)


def _start_servers(starter: Starter, tickets: Tickets) -> list[Service]:
    place = starter.place
    database, postgres = start_postgres(starter)
    objects = start_object_store(starter)
    tracking = start_tracking(starter, database)
    prefect = start_prefect(starter, database, tickets)
    starter.wait(tracking, f"{place.pages['mlflow']}/health")
    starter.wait(prefect, f"{place.pages['prefect']}/api/health")
    add_account(place.pages["mlflow"], place.secrets.tracking_admin, WORKER, place.secrets.tracking_worker)
    own = prefect_environment_in(place.folder / "prefect", place.pages["prefect"], place.secrets.prefect) | place.client
    deployments = starter.start("the deployments", [sys.executable, "-m", "graftline", "deploy"], own,
                                folder=place.root)  # fmt: skip
    wait_for_end(deployments, starter.stop, PREPARE_SECONDS)
    return [postgres, objects, tracking, prefect]


def start_postgres(starter: Starter) -> tuple[Postgres, Service]:
    place = starter.place
    database = Postgres(place.folder / "postgres", free_ports(1)[0], place.secrets.postgres)
    database.make()
    server = starter.start("Postgres", database.command, database.environment, account=account_without_rights(),
                           folder=Path("/"))  # fmt: skip
    database.wait(server, starter.stop, START_SECONDS)
    database.add_databases(DATABASES)
    return database, server


def start_object_store(starter: Starter) -> Service:
    place = starter.place
    command = object_store(place.folder / "s3", [BUCKET], [place.s3_port, *free_ports(PORTS - 1)])
    keys = s3_environment(place.pages["s3"], place.secrets.s3_key, place.secrets.s3_secret)
    (place.folder / "s3").mkdir(mode=0o700, exist_ok=True)
    return starter.start("the S3 server", command, os.environ | keys)


def start_tracking(starter: Starter, database: Postgres) -> Service:
    place = starter.place
    accounts = place.folder / "basic_auth.ini"
    # Its reader takes a % for the beginning of a name.
    write_secretly(
        accounts, BASIC_AUTH.format(database_uri=database.address(DATABASES[2], "psycopg").replace("%", "%%"))
    )
    command, environment = team_tracking_server(
        place.pages["mlflow"],
        hosts=place.hosts,
        artifacts=f"s3://{BUCKET}/mlflow",
        environment={
            "MLFLOW_BACKEND_STORE_URI": database.address(DATABASES[1], "psycopg"),
            "MLFLOW_AUTH_CONFIG_PATH": str(accounts),
            "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
            "MLFLOW_AUTH_ADMIN_PASSWORD": place.secrets.tracking_admin,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": place.secrets.cookies,
            **s3_environment(place.pages["s3"], place.secrets.s3_key, place.secrets.s3_secret),
        },
    )
    return starter.start("the MLflow server", command, environment)


def start_prefect(starter: Starter, database: Postgres, tickets: Tickets) -> Service:
    place = starter.place
    page, password = place.pages["prefect"], place.secrets.prefect
    own = prefect_environment_in(place.folder / "prefect", page, password) | {
        "PREFECT_API_DATABASE_CONNECTION_URL": database.address(DATABASES[0], "asyncpg"),
        MORE_HOSTS: ",".join(place.hosts),
    }
    command, environment = guarded_prefect(own, page, password, tickets.folder)
    if place.hosts:  # the pages ask the address that the browser knows
        first = f"https://{place.hosts[0]}"
        environment |= {
            "PREFECT_SERVER_UI_API_URL": f"{first}/api",
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"{page},{first}",
        }
    return starter.start("the Prefect server", command, environment)


def _start_worker(starter: Starter, number: int) -> Service:
    """A worker in a folder of its own, as one on another machine has it."""
    place = starter.place
    folder = place.folder / "workers" / str(number)
    own = prefect_environment_in(folder / "prefect", place.pages["prefect"], place.secrets.prefect)
    command = prefect_command("worker", "start", "--pool", WORK_POOL, "--name", f"worker {number}")
    return starter.start(f"worker {number}", command, own | place.client | {PROJECTS: str(folder)}, folder=folder)


def _start_attendant(starter: Starter) -> Service:
    """What is asked on MLflow's page is answered there."""
    place = starter.place
    own = prefect_environment_in(place.folder / "prefect", place.pages["prefect"], place.secrets.prefect)
    command = attendant(read_settings(place.root / PARAMS).registry.model)
    return starter.start(ATTENDANT, command, own | place.client, folder=place.root)


def _as_shell(variables: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
