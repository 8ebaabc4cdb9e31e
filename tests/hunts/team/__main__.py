"""Run the hunt: `python -m tests.hunts.team --kills 300 --seed 1 --seconds 1500`."""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from graftline.flows.cli import PATIENCE, QUIET, TELEMETRY_OFF

os.environ.update(TELEMETRY_OFF | QUIET | PATIENCE)

from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from tests.hunts.team.fleet import Machine, machines
from tests.hunts.team.load import KINDS
from tests.hunts.team.project import client_of, push_data, team_project
from tests.hunts.team.servers import TeamServers, team_servers
from tests.support.shell import own_code
from tests.support.tiny_project import graftline


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3600, help="so long after its start no other kill begins")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), help="kills of these kinds alone, as CI has them")
    parser.add_argument("--keep", type=Path, help="a folder that stays, of which a fault can be looked into")
    options = parser.parse_args()
    folder = Path(options.keep or tempfile.mkdtemp(prefix="graftline-hunt-"))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)  # the accounts of Postgres and of the machines come by
    try:
        return hunt(folder, Wanted(options.kills, options.seed, options.seconds, options.only))
    finally:
        if options.keep is None:
            shutil.rmtree(folder)


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for."""

    kills: int
    seed: int
    seconds: float
    only: list[str] | None

    @property
    def kinds(self) -> dict[str, int]:
        return {name: KINDS[name] for name in self.only} if self.only else KINDS


def hunt(folder: Path, wanted: Wanted) -> int:
    """Make so many kills, each with a line, and a summary. Returns: the exit code."""
    began = time.monotonic()
    with ExitStack() as stack:
        servers = stack.enter_context(team_servers(folder / "project", folder / "servers"))
        project = team_project(folder / "project", servers.client["AWS_ENDPOINT_URL"])
        push_data(project, client_of(servers.client))
        shutil.copytree(project, folder / "observer")
        if "adapt" in wanted.kinds:
            deployed = graftline(project, "deploy", **own_code(), **servers.client)  # and the rule that ends lost runs
            assert deployed.returncode == 0, deployed.stderr
        stack.enter_context(looking_as(servers.client))
        both = stack.enter_context(machines(("one", "two"), project, folder, servers.client))
        return _hunt(servers, both, folder, wanted, began)


def _hunt(servers: TeamServers, both: list[Machine], folder: Path, wanted: Wanted, began: float) -> int:
    from graftline.tasks.tracking.server import connect  # reads the environment
    from graftline.tasks.workspace import Workspace
    from tests.hunts.team.hunt import Hunt, Violated, load_of
    from tests.hunts.team.invariants import Looks

    workspace = Workspace(folder / "observer")
    connect(workspace)
    projects, homes = [one.project for one in both], [one.home for one in both]
    looks = Looks(workspace, projects, servers.logs, homes, servers.secrets, client_of(servers.client))
    hunt = Hunt(servers, both, looks, load_of(wanted.seed))
    said, fault = dict[str, object](), None
    try:
        hunt.begin()
        hunt.kills(wanted.kills, began + wanted.seconds, wanted.kinds)
        said = hunt.end()
    except Violated as violated:
        fault = str(violated)
    summary = {
        "seed": wanted.seed, "kills": sum(hunt.counted[kind] for kind in KINDS), "of": dict(hunt.counted),
        "over before the kill": hunt.overtaken, "restarts": servers.restarts, **said,
        "seconds": round(time.monotonic() - began), "fault": fault,
    }  # fmt: skip
    print(json.dumps(summary), flush=True)
    return 1 if fault else 0


@contextmanager
def looking_as(environment: Mapping[str, str]) -> Iterator[None]:
    """This process asks the servers itself, so it is told what a machine is told."""
    os.environ.update(environment)
    prefect = {
        PREFECT_API_URL: environment["PREFECT_API_URL"], PREFECT_API_AUTH_STRING: environment["PREFECT_API_AUTH_STRING"]
    }  # fmt: skip
    with temporary_settings(prefect):
        yield


if __name__ == "__main__":
    sys.exit(main())
