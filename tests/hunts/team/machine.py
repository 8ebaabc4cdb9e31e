"""A machine of the team: one warm process that forks for each command, and kills or pauses it when it was told to.

It reads jobs from standard input, one JSON object a line, and answers each with one line. What it is killed with, all
that it has started is.
"""

import importlib
import json
import os
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from graftline.flows.cli import PATIENCE, QUIET, TELEMETRY_OFF
from graftline.flows.cli import main as main_of_graftline

LOADED = (
    "graftline.flows.adapt", "graftline.flows.approve", "graftline.flows.console", "graftline.flows.gc",
    "graftline.flows.history", "graftline.flows.override", "graftline.flows.promote", "graftline.flows.rollback",
    "graftline.flows.runs", "graftline.tasks.state.bucket", "mlflow", "mlflow.pyfunc", "boto3", "transformers",
    "great_expectations",
)  # fmt: skip
POLL_SECONDS = 0.01
LONGEST_SECONDS = 240.0


@dataclass
class Job:
    """A command under way."""

    number: int
    process: int
    began: float
    kill_after: float | None
    pause: tuple[float, float] | None
    paused: bool = False

    def attend(self, seconds: float) -> None:
        """Do to it what is due so many seconds after its begin."""
        if self.kill_after is not None and seconds >= self.kill_after:
            self._send(signal.SIGKILL)
            self.kill_after = None
        if self.pause and not self.paused and seconds >= self.pause[0]:
            self._send(signal.SIGSTOP)
            self.paused = True
        if self.pause and self.paused and seconds >= sum(self.pause):
            self._send(signal.SIGCONT)
            self.pause = None
        if seconds > LONGEST_SECONDS:
            self._send(signal.SIGABRT)  # faulthandler tells where

    def _send(self, number: int) -> None:
        try:
            os.killpg(self.process, number)
        except ProcessLookupError:
            return  # it has not made its group yet, or has just ended


def main() -> None:
    os.environ.update(TELEMETRY_OFF | QUIET | PATIENCE)
    for module in LOADED:
        importlib.import_module(module)
    _answer({"ready": True})
    jobs: dict[int, Job] = {}
    waiting = b""
    while True:
        if select.select([0], [], [], POLL_SECONDS if jobs else None)[0]:
            read = os.read(0, 1 << 16)
            if not read:
                break
            *lines, waiting = (waiting + read).split(b"\n")
            for line in lines:
                job = _start(json.loads(line))
                jobs[job.process] = job
        _collect(jobs)
    for process in jobs:
        os.killpg(process, signal.SIGKILL)


def _collect(jobs: dict[int, Job]) -> None:
    for job in jobs.values():
        job.attend(time.monotonic() - job.began)
    while jobs:
        # As the first process of its namespace it also buries whoever else has died.
        process, status = os.waitpid(-1, os.WNOHANG)
        if not process:
            return
        if ended := jobs.pop(process, None):
            code = os.waitstatus_to_exitcode(status)
            _answer({"job": ended.number, "code": code, "seconds": round(time.monotonic() - ended.began, 3)})


def _start(told: dict[str, Any]) -> Job:
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        os.setsid()
        os.close(write)
        os.read(read, 1)  # until the other side knows that this is a group of its own
        _run(told["command"], Path(told["output"]))
    os.close(read)
    os.close(write)
    pause = (float(told["pause"][0]), float(told["pause"][1])) if told["pause"] else None
    return Job(told["job"], process, time.monotonic(), told["kill_after"], pause)


def _run(command: list[str], output: Path) -> NoReturn:
    code = 1
    try:
        for number, name in ((1, "out"), (2, "err")):
            with output.with_suffix(f".{name}").open("wb") as file:
                os.dup2(file.fileno(), number)
        os.close(0)
        os.open(os.devnull, os.O_RDONLY)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        importlib.import_module("faulthandler").enable()
        sys.argv = ["graftline", *command]
        main_of_graftline()
        code = 0
    except SystemExit as done:
        code = int(str(done.code or 0))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _answer(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
