"""A signal at random moments of `adapt`: each run ends within seconds, says one sentence, and is gone on with.

The tiny project is trained with another seed each time. Every other run has Python collect garbage at almost every
allocation, for that is where a signal's exception is lost.
"""

import argparse
import gc
import importlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from graftline.flows.cli import TELEMETRY_OFF
from graftline.flows.cli import main as main_of_graftline

os.environ.update(TELEMETRY_OFF)

from prefect.settings import PREFECT_API_URL, temporary_settings

from graftline.flows.servers.commands import address_options, prefect_command, prefect_environment
from graftline.flows.servers.services import StopSignal, service, wait_for_page
from tests.support.running_project import free_port
from tests.support.tiny_project import write_project

SIGNALS = (signal.SIGTERM, signal.SIGTERM, signal.SIGTERM, signal.SIGINT)
# So long a run may take to end; a look is never further away than five seconds.
END_SECONDS = 12.0
LONGEST_SECONDS = 300
# Before it handles them, a process ends by its signals as any other does.
FIRST_SECONDS = 0.5
STOPS_PER_TRAINING = 3
MUCH_GARBAGE = (30, 3, 3)
TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Stop:
    """What a signal came to."""

    number: int
    after_seconds: float
    exit_code: int
    seconds: float
    said: str

    @property
    def fault(self) -> str | None:
        """What is wrong with it; a run that was over before the signal may have been done."""
        if self.exit_code == 0:
            return None if self.seconds <= END_SECONDS else f"went on for {self.seconds:.0f} s"
        if self.exit_code == -self.number and self.after_seconds < FIRST_SECONDS:
            return None
        if self.exit_code != 128 + self.number:
            return f"exit code {self.exit_code}"
        if self.seconds > END_SECONDS:
            return f"ended after {self.seconds:.0f} s"
        sentences = [line for line in self.said.splitlines() if line.startswith("graftline: ")]
        if len(sentences) != 1 or TRACEBACK in self.said:
            return f"said {len(sentences)} sentences"
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stops", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--within", type=float, help="seconds; otherwise those that a whole run takes, which is tried")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, prefect_at(Path(scratch)) as page:
        project = write_project(Path(scratch) / "project")
        stops = hunt(project, options.stops, seed=options.seed, prefect=page, within=options.within)
    faults = [stop for stop in stops if stop.fault]
    ends = Counter(stop.exit_code for stop in stops)
    slowest = max(stop.seconds for stop in stops)
    print(f"{len(stops)} signals: exit codes {dict(ends)}, slowest end {slowest:.1f} s, {len(faults)} faults")
    return 1 if faults else 0


@contextmanager
def prefect_at(folder: Path) -> Iterator[str]:
    """A Prefect server in a process of its own: this one must have no threads, for it forks."""
    page = f"http://127.0.0.1:{free_port()}"
    environment = prefect_environment(folder, page, password="")
    Path(environment["PREFECT_HOME"]).mkdir(parents=True)
    command = prefect_command("server", "start", *address_options(page))
    with service("Prefect", command, folder=folder, environment=environment, log=folder / "prefect.log") as server:
        wait_for_page(server, f"{page}/api/health", StopSignal(), seconds=180)
        yield page


def hunt(project: Path, count: int, *, seed: int, prefect: str, within: float | None = None) -> list[Stop]:
    """Send so many signals, each to a run of its own in the project; the last run is left to its end."""
    _load()
    drawn = random.Random(seed)
    whole_seconds = within or _run(project, prefect, training=0).seconds
    stops: list[Stop] = []
    training, used = 1, 0
    while (number := len(stops)) < count:
        after = drawn.uniform(0.0, whole_seconds)
        stop = _run(
            project, prefect, training=training, send=drawn.choice(SIGNALS), after=after, greedy=number % 2 == 1
        )
        # Runs share a training, so that a signal also arrives late in the line; one that is over has no such place.
        training, used = (
            (training + 1, 0) if stop.exit_code == 0 or used == STOPS_PER_TRAINING else (training, used + 1)
        )
        if not stop.number:  # it was over before the signal
            whole_seconds = 0.9 * whole_seconds
            continue
        stops.append(stop)
        print(f"{number}: {stop.number} after {after:.1f} s: {stop.exit_code} in {stop.seconds:.1f} s", flush=True)
        if stop.fault:
            print(f"FAULT {stop.fault}\n{stop.said}", flush=True)
    last = _run(project, prefect, training=training)
    assert last.exit_code == 0, last.said
    return stops


def _load() -> None:
    """Import once what every run needs, which takes longer than a tiny run."""
    for module in ("graftline.flows.adapt", "graftline.flows.console", "mlflow", "transformers", "great_expectations"):
        importlib.import_module(module)


def _run(
    project: Path, prefect: str, *, training: int, send: int = 0, after: float = LONGEST_SECONDS, greedy: bool = False
) -> Stop:
    """Adapt in a forked process."""
    said, began = project / ".said", time.monotonic()
    child = os.fork()
    if child == 0:
        _adapt(project, prefect, said, training, greedy=greedy)
    sent = began
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        now = time.monotonic()
        if send and sent == began and now - began >= after:
            os.kill(child, send)
            sent = now
        if now - sent > LONGEST_SECONDS:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    code = os.waitstatus_to_exitcode(ended[1])
    return Stop(send if sent > began else 0, after, code, time.monotonic() - sent, said.read_text(encoding="utf-8"))


def _adapt(project: Path, prefect: str, said: Path, training: int, *, greedy: bool) -> NoReturn:
    code = 1
    try:
        os.chdir(project)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background ignores
        with said.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        if greedy:
            gc.set_threshold(*MUCH_GARBAGE)
        sys.argv = ["graftline", "adapt", "--set", f"adaptation.seed={training}", "--set", "adaptation.epochs=40"]
        with temporary_settings({PREFECT_API_URL: f"{prefect}/api"}):
            main_of_graftline()
    except SystemExit as done:
        code = int(str(done.code or 0))
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
