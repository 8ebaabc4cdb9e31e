"""A copy of this project with `graftline up` running in it, and what is left of it afterwards."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pydantic import JsonValue

from graftline.flows.servers.sign_in import PASSWORD_FILE
from graftline.tasks.tracking.addresses import as_basic

PROJECT = Path(__file__).resolve().parents[2]
MARK = "GRAFTLINE_TEST_MARK"
LEAVE_OUT = shutil.ignore_patterns(
    ".venv", ".graftline", "artifacts", "reports", "mlflow.db*", "history", "__pycache__", ".*_cache", "*.egg-info"
)
START_SECONDS = 180
STOP_SECONDS = 60


@dataclass(frozen=True)
class Running:
    """A started `graftline up`."""

    project: Path
    process: subprocess.Popen[str]
    prefect: str
    mlflow: str
    mark: str
    links: Iterator[str]
    """Each signs one browser in; the next one is printed when that has happened."""

    @property
    def password(self) -> str:
        """Of Prefect's API, as a command line of the same user finds it."""
        return (self.project / ".graftline" / PASSWORD_FILE).read_text(encoding="utf-8")

    def stop(self, number: signal.Signals) -> str:
        """Send a signal, wait for the end, and return what it said."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=STOP_SECONDS)[0]


def copy_project(target: Path) -> Path:
    """The working tree without what runs have made in it."""
    shutil.copytree(PROJECT, target, ignore=LEAVE_OUT, symlinks=True)
    return target


@contextmanager
def graftline_up(project: Path) -> Iterator[Running]:
    """Start `graftline up` on free ports and wait for its addresses; whatever happens, nothing outlives the block."""
    prefect_port, mlflow_port = free_port(), free_port()
    mark = uuid.uuid4().hex
    command = [str(Path(sysconfig.get_path("scripts")) / "graftline"), "up"]
    others = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    process = subprocess.Popen(
        [*command, "--prefect-port", str(prefect_port), "--mlflow-port", str(mlflow_port)],
        cwd=project,
        # The copy's own code, whatever is installed.
        env=others | {MARK: mark, "PYTHONPATH": os.pathsep.join(filter(None, [str(project), os.getenv("PYTHONPATH")]))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        links = _links(process)
        first = next(links)
        prefect, mlflow = f"http://127.0.0.1:{prefect_port}", f"http://127.0.0.1:{mlflow_port}"
        yield Running(project, process, prefect, mlflow, mark, chain([first], links))
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in marked_processes(mark):
                os.kill(pid, number)
            _wait_until_gone(mark)
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def marked_processes(mark: str) -> list[int]:
    """The processes that descend from a marked one, however they were started."""
    entry = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # it has just ended
    return found


def child_that_says(mark: str, words: str) -> int:
    """The marked process whose command line holds the words."""
    for pid in marked_processes(mark):
        if words in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode():
            return pid
    raise AssertionError(f"no process of this test says {words}")


def state_of(running: Running, run: str) -> JsonValue:
    """The name of the state that a flow run is in, such as Running."""
    return ask_prefect(running, f"flow_runs/{run}")["state_name"]


def ask_prefect(running: Running, what: str) -> dict[str, JsonValue]:
    """An answer of Prefect's API."""
    asked = urllib.request.Request(f"{running.prefect}/api/{what}")
    asked.add_header("Authorization", f"Basic {as_basic(running.password)}")
    with urllib.request.urlopen(asked, timeout=30) as page:
        value: dict[str, JsonValue] = json.load(page)
        return value


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.2)


def _links(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    said = []
    for line in process.stdout:  # the test's own time limit bounds this
        said.append(line)
        if line.startswith("Prefect "):
            yield line.split()[1]
    raise AssertionError("graftline up ended early:\n" + "".join(said))


def _wait_until_gone(mark: str) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while marked_processes(mark) and time.monotonic() < deadline:
        time.sleep(0.2)
