"""Machines of the team: each with a folder, and where we may make one a view of processes of its own."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.running_project import MARK, marked_processes
from tests.support.shell import own_code
from tests.support.tiny_project import surroundings

START_SECONDS, ANSWER_SECONDS = 180, 300
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass
class Done:
    """How a command ended: below 0 by a signal."""

    command: tuple[str, ...]
    code: int
    seconds: float
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        """What it printed with --json."""
        lines = self.out.splitlines()
        return dict(json.loads(lines[-1])) if lines else {}


@dataclass
class Machine:
    """A folder with a clone of the project, and a process that runs commands in it."""

    name: str
    project: Path
    environment: Mapping[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    jobs: int = 0
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    commands: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def start(self) -> None:
        """Switch it on, and wait until it takes commands."""
        own = surroundings(**own_code(), **ONE_THREAD, **self.environment, HOME=str(self.home),
                           PREFECT_HOME=str(self.home / "prefect"), USER=self.name, **{MARK: self.mark})  # fmt: skip
        command = [*separately(), sys.executable, "-m", "tests.hunts.team.machine"]
        self.process = subprocess.Popen(
            command, cwd=self.project, env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=(self.home / "machine.err").open("ab"), start_new_session=True,
        )  # fmt: skip
        assert self._answer(START_SECONDS) == {"ready": True}, (self.home / "machine.err").read_text()

    @property
    def home(self) -> Path:
        return self.project.parent / f"{self.project.name}_home"

    def send(self, *command: str, kill_after: float | None = None, pause: tuple[float, float] | None = None) -> int:
        """Start a command. Returns: its number."""
        self.jobs += 1
        self.commands[self.jobs] = command
        told = {"job": self.jobs, "command": command, "kill_after": kill_after, "pause": pause,
                "output": str(self._output(self.jobs))}  # fmt: skip
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(told).encode() + b"\n")
        self.process.stdin.flush()
        return self.jobs

    def wait(self) -> Done:
        """The next of its commands that ends."""
        answer = self._answer(ANSWER_SECONDS)
        number = int(answer["job"])
        out, err = (self._output(number).with_suffix(f".{end}") for end in ("out", "err"))
        read = [path.read_text(errors="replace") if path.exists() else "" for path in (out, err)]
        return Done(self.commands.pop(number), answer["code"], answer["seconds"], *read)

    def run(self, *command: str) -> Done:
        """A command from begin to end."""
        assert not self.commands
        self.send(*command)
        return self.wait()

    def kill(self) -> list[tuple[str, ...]]:
        """Switch it off with everything that runs on it. Returns: the commands that ended by that."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for process in marked_processes(self.mark):  # where it has no processes of its own
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        lost = list(self.commands.values())
        self.commands.clear()
        return lost

    def _output(self, number: int) -> Path:
        return self.home / f"job{number:05d}"

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdout is not None
        deadline, line = time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            assert select.select([self.process.stdout], [], [], max(0.0, left))[0], f"{self.name}: no answer"
            read = os.read(self.process.stdout.fileno(), 1)
            assert read, f"{self.name}: ended: {(self.home / 'machine.err').read_text()[-2000:]}"
            line += read
        return dict(json.loads(line))


@contextmanager
def machines(
    names: Sequence[str], project: Path, folder: Path, environment: Mapping[str, str]
) -> Iterator[list[Machine]]:
    """One for each name, with a clone of the project; whatever happens, none outlives the block."""
    made = []
    try:
        for name in names:
            clone = shutil.copytree(project, folder / name, symlinks=True)
            machine = Machine(name, clone, environment)
            machine.home.mkdir()
            made.append(machine)
            machine.start()
        yield made
    finally:
        for machine in made:
            if machine.process is not None:
                machine.kill()


def separately() -> list[str]:
    """What the command of a machine begins with, so that it sees its own processes only, if we may do that.

    What ended on the other one then is as unknown to it as if that were far away.
    """
    may = os.geteuid() == 0 and shutil.which("unshare") is not None
    return ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"] if may else []
