"""The servers of a team, each of which can be killed and started again by itself."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graftline.flows.servers.commands import team_tracking_server
from graftline.flows.servers.object_store import s3_environment
from graftline.flows.servers.postgres import Postgres
from graftline.flows.servers.services import Service, StopSignal
from graftline.flows.servers.sign_in import Tickets
from graftline.flows.team import BUCKET, DATABASES, Starter, Team, start_object_store, start_postgres, start_prefect
from graftline.tasks.state.shared import STATE
from tests.support.servers import free_ports

RESTARTED = ("MLflow", "S3", "Prefect")


@dataclass
class TeamServers:
    """Postgres, S3, MLflow and Prefect, as `graftline team` starts them.

    MLflow asks for no account: with one, each request costs a tenth of a second of a processor for the password alone.
    """

    place: Team
    everything: ExitStack
    stop: StopSignal = field(default_factory=StopSignal)
    running: dict[str, Service] = field(default_factory=dict)
    restarts: int = 0
    _stacks: dict[str, ExitStack] = field(default_factory=dict)
    _database: Postgres | None = None

    @property
    def logs(self) -> Path:
        return self.place.folder / "logs"

    @property
    def client(self) -> dict[str, str]:
        """What a machine is told."""
        others = {name: value for name, value in self.place.client.items() if not name.startswith("MLFLOW_TRACKING_")}
        return {**others, "MLFLOW_TRACKING_URI": self.place.pages["mlflow"], STATE: f"s3://{BUCKET}/state"}

    @property
    def secrets(self) -> list[str]:
        """What may stand in no log, page or file of a run."""
        kept = self.place.secrets
        named = (kept.prefect, kept.postgres, kept.s3_secret)
        return [one.rpartition(":")[2] for one in named]

    def start(self) -> None:
        """All of them, each ready when this returns."""
        self._database, _ = start_postgres(self._starter("Postgres"))
        for name in ("S3", "MLflow", "Prefect"):
            self._start(name)
        for name in ("MLflow", "Prefect"):
            self._wait(name)

    def restart(self, name: str) -> None:
        """Kill a server with all of its processes, and start it anew on what it has written."""
        os.killpg(self.running[name].process.pid, signal.SIGKILL)
        self._stacks.pop(name).close()
        self.restarts += 1
        log = self.running[name].log
        log.rename(log.with_name(f"{log.name}.{self.restarts}"))
        self._start(name)
        self._wait(name)

    def _start(self, name: str) -> None:
        starter = self._starter(name)
        assert self._database is not None
        if name == "S3":
            self.running[name] = start_object_store(starter)
        elif name == "MLflow":
            self.running[name] = starter.start("the MLflow server", *self._tracking(self._database))
        else:
            self.running[name] = start_prefect(starter, self._database, Tickets(self.place.folder / "sign_in"))

    def _tracking(self, database: Postgres) -> tuple[list[str], dict[str, str]]:
        pages, secrets = self.place.pages, self.place.secrets
        environment = {"MLFLOW_BACKEND_STORE_URI": database.address(DATABASES[1], "psycopg")}
        environment |= s3_environment(pages["s3"], secrets.s3_key, secrets.s3_secret)
        command, told = team_tracking_server(
            pages["mlflow"], hosts=(), artifacts=f"s3://{BUCKET}/mlflow", environment=environment
        )
        return [part for part in command if part not in ("--app-name", "basic-auth")], told

    def _wait(self, name: str) -> None:
        pages = self.place.pages
        address = {
            "S3": f"{pages['s3']}/healthz",
            "MLflow": f"{pages['mlflow']}/health",
            "Prefect": f"{pages['prefect']}/api/health",
        }
        self._starter(name).wait(self.running[name], address[name])

    def _starter(self, name: str) -> Starter:
        stack = self._stacks.setdefault(name, self.everything.enter_context(ExitStack()))
        return Starter(self.place, stack, self.stop, say=_silent)


@contextmanager
def team_servers(project: Path, folder: Path) -> Iterator[TeamServers]:
    """Servers with their data in `folder`; whatever happens, none outlives the block."""
    prefect, mlflow, s3 = free_ports(3)
    with ExitStack() as everything:
        servers = TeamServers(Team(project, folder, prefect, mlflow, s3, workers=0), everything)
        Tickets(folder / "sign_in").clear()
        servers.start()
        yield servers


def _silent(*_: Any) -> None:
    pass
