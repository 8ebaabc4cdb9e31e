"""Workers of Prefect on two machines: a run that died with one is finished by the other; with --flows, many at once."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from graftline.flows.cli import PATIENCE, QUIET, TELEMETRY_OFF

os.environ.update(TELEMETRY_OFF | QUIET | PATIENCE)

from mlflow import MlflowClient
from prefect.client.orchestration import SyncPrefectClient, get_client

from benchmarks.scores.projects import git
from graftline.flows.servers.checkout import PROJECTS
from graftline.flows.servers.commands import WORK_POOL, prefect_command
from graftline.flows.servers.lost_runs import is_over
from graftline.tasks.state.shared import STATE
from tests.hunts.team.__main__ import looking_as
from tests.hunts.team.fleet import ONE_THREAD, separately
from tests.hunts.team.project import BUCKET, client_of, push_data, team_project
from tests.hunts.team.servers import TeamServers, team_servers
from tests.support.running_project import MARK, marked_processes, wait_until
from tests.support.shell import own_code
from tests.support.tiny_project import MODEL, surroundings

# Long enough to be killed in.
EPOCHS = 60
# A start on a busy machine; and until the rule has missed three heartbeats, and looks.
RUN_SECONDS, LOST_SECONDS = 300, 240
DIGESTS = {"weights_sha256": "graftline.weights_sha256", "predictions_sha256": "graftline.predictions_sha256"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=0, help="send so many at once, instead")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="graftline-workers-"))
    folder.chmod(0o711)  # the account of Postgres comes by
    try:
        with ExitStack() as stack:
            servers = stack.enter_context(team_servers(folder / "project", folder / "servers"))
            project = team_project(folder / "project", servers.client["AWS_ENDPOINT_URL"], approval=False)
            stack.enter_context(looking_as(servers.client))
            deploy(project, folder / "team.git", servers)
            if options.flows:
                at_once(folder, servers, options.flows)
            else:
                finished_elsewhere(folder, servers, undisturbed(project, folder / "alone", servers))
    finally:
        shutil.rmtree(folder)
    return 0


def undisturbed(project: Path, clone: Path, servers: TeamServers) -> dict[str, Any]:
    """What `adapt` says of the same run on a machine that nobody disturbs, with a registry and state of its own."""
    shutil.copytree(project, clone)
    own = {name: value for name, value in servers.client.items() if name.startswith("PREFECT")} | {STATE: ""}
    command = ("adapt", "--json", "--set", f"adaptation.epochs={EPOCHS}")
    return graftline(clone, own, *command)


def deploy(project: Path, bare: Path, servers: TeamServers) -> None:
    """The project's data and commits where workers reach them, and its deployments on the server."""
    push_data(project, client_of(servers.client))
    git(project.parent, "init", "--quiet", "--bare", "--initial-branch", "main", bare.name)
    git(project, "remote", "add", "origin", bare.as_uri())
    git(project, "push", "--quiet", "origin", "main")
    graftline(project, servers.client, "deploy", "--json")


def finished_elsewhere(folder: Path, servers: TeamServers, alone: dict[str, Any]) -> None:
    """Kill a machine in a training, worker and all; start the run again on the other one; compare the digests."""
    with get_client(sync_client=True) as client:
        with worker(folder / "one", servers) as mark:
            began = time.monotonic()
            run = started(client, f"adapt/{MODEL}", epochs=EPOCHS)
            wait_until(lambda: bool(unfinished(servers)), RUN_SECONDS)
            kill(mark)
        killed = time.monotonic()
        wait_until(lambda: is_over(client.read_flow_run(run)), LOST_SECONDS)
        lost = time.monotonic()
        state = client.read_flow_run(run).state_name
        graftline(folder / "project", servers.client, "restart", str(run), "--json")
        with worker(folder / "two", servers):
            wait_until(lambda: is_over(client.read_flow_run(run)), RUN_SECONDS)
        done = client.read_flow_run(run)
    (version,) = MlflowClient().search_model_versions(f"name = '{MODEL}'")
    equal = {name: version.tags[tag] == alone[name] for name, tag in DIGESTS.items()}
    told = {
        "killed after": round(killed - began, 1), "said to be": state, "after": round(lost - killed, 1),
        "then": done.state_name, "finished after": round(time.monotonic() - lost, 1), "equal": equal,
        "left unfinished": unfinished(servers), "runs": Counter(one.info.status for one in tracked()),
    }  # fmt: skip
    print(json.dumps(told), flush=True)
    assert (state, done.state_name) == ("Crashed", "Completed"), told
    assert all(equal.values()), told
    assert (told["left unfinished"], told["runs"]) == ([], {"FINISHED": 1}), told


def at_once(folder: Path, servers: TeamServers, count: int) -> None:
    """Send one flow, then so many at once: trainings that wait for each other, those of which all but one are dropped
    as those of a schedule are, and others.
    """
    with ExitStack() as stack, get_client(sync_client=True) as client:
        for name in ("three", "four"):
            stack.enter_context(worker(folder / name, servers))
        for deployment in (f"retrain/{MODEL}", f"adapt/{MODEL}", f"history/{MODEL}"):
            one, _ = together(client, deployment, 1, first=100)
            seconds, states = together(client, deployment, count, first=200)
            told = {"flows": count, "of": deployment, "ended": states, "seconds": seconds, "one alone": one}
            print(json.dumps(told), flush=True)
            assert sum(states.values()) == count, told
            dropped = count - 1 if deployment.startswith("adapt/") else 0
            assert states == Counter(Completed=count - dropped, Cancelled=dropped), told


def together(client: SyncPrefectClient, deployment: str, count: int, *, first: int) -> tuple[float, Counter[str]]:
    """How long so many runs took until the last one had ended, and how each did."""
    began = time.monotonic()
    runs = [started(client, deployment, seed=first + number) for number in range(count)]
    wait_until(lambda: all(is_over(client.read_flow_run(run)) for run in runs), RUN_SECONDS * (1 + count / 3))
    return round(time.monotonic() - began, 1), Counter(str(client.read_flow_run(run).state_name) for run in runs)


def started(client: SyncPrefectClient, name: str, **adaptation: int) -> UUID:
    """A run of a deployment, of a training with these settings."""
    deployment = client.read_deployment_by_name(name)
    parameters = json.loads(json.dumps(deployment.parameters))
    if "settings" in parameters:
        parameters["settings"]["adaptation"] |= adaptation
    elif "seed" in parameters:
        parameters |= adaptation
    return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id


@contextmanager
def worker(folder: Path, servers: TeamServers) -> Iterator[str]:
    """A worker on a machine with nothing but the addresses. Gives: the mark of all of its processes."""
    folder.mkdir()
    mark = folder.name + os.urandom(8).hex()
    own = surroundings(**own_code(), **ONE_THREAD, **servers.client, **{MARK: mark, PROJECTS: str(folder)},
                       PREFECT_HOME=str(folder / "home"), PREFECT_WORKER_QUERY_SECONDS="2")  # fmt: skip
    command = [*separately(), *prefect_command("worker", "start", "--pool", WORK_POOL, "--name", folder.name)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=own, stdout=log, stderr=log, start_new_session=True)
    try:
        yield mark
    finally:
        kill(mark)
        process.wait()


def kill(mark: str) -> None:
    """End a machine with all that runs on it."""
    while processes := marked_processes(mark):
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)


def unfinished(servers: TeamServers) -> list[str]:
    """The checkpoints of trainings that go on, or were killed."""
    found = client_of(servers.client).list_objects_v2(Bucket=BUCKET, Prefix="state/unfinished/fine_tune/")
    return [one["Key"] for one in found.get("Contents", []) if one["Key"].endswith("/listing.json")]


def tracked() -> list[Any]:
    """MLflow's runs."""
    client = MlflowClient()
    return list(client.search_runs([one.experiment_id for one in client.search_experiments()]))


def graftline(folder: Path, environment: dict[str, str], *command: str) -> dict[str, Any]:
    """What a verb prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "graftline.flows", *command], cwd=folder, capture_output=True, text=True, check=False,
        env=surroundings(**own_code(), **ONE_THREAD, **environment),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.exit(main())
