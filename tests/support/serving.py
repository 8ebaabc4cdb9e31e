"""`graftline serve` running over a real registry with small models, and a stand-in for a version's process."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from mlflow import MlflowClient

from benchmarks.serving.registry import register_judged
from graftline.models.folders import save_classifier
from graftline.models.media import Medium
from graftline.tasks.registry.versions import CHAMPION
from graftline.tasks.serving.live_version import OK, LiveVersion, Reply
from graftline.tasks.serving.request_reading import Reading
from graftline.tasks.workspace import Workspace
from tests.support.running_project import PROJECT, free_port, wait_until
from tests.support.served import is_up
from tests.support.tiny_models import tiny_classifier, tiny_preprocessor, write_tiny_model
from tests.support.tiny_project import surroundings

MODEL = "tiny"
START_SECONDS = STOP_SECONDS = 60
# In a text it ends the request of the stand-in, alone or with others.
REFUSED = "refuse this"


class StandIn(LiveVersion):
    """Answers at once and in this process: each text with itself and the version's number."""

    def __init__(self, number: int, *, seconds: float = 0.0) -> None:
        super().__init__(number, f"run{number}", Path("/nowhere"), Reading("text", "text"), by_columns=True)
        self.asked: list[list[str]] = []
        self.fault: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self._seconds = seconds

    async def ask(self, inputs: Sequence[Any], seconds: float) -> Reply:
        texts = [raw.name if isinstance(raw, Medium) else raw for raw in inputs]
        self.asked.append(texts)
        await asyncio.sleep(self._seconds)
        await asyncio.wait_for(self.gate.wait(), seconds)
        if self.fault:
            raise self.fault
        if REFUSED in texts:
            return Reply(400, (), None, f"input {texts.index(REFUSED)} is refused")
        records = [{"label": f"{text} by {self.number}", "probabilities": {"a": 0.25, "b": 0.75}} for text in texts]
        return Reply(OK, records, np.array([[len(text), self.number] for text in texts], np.float32))


def register_seeds(workspace: Workspace, *seeds: int) -> list[Path]:
    """A judged version for each seed of its head, the first of them the champion; the folders of their files."""
    base, adapted = write_tiny_model(workspace.root / "base"), []
    for seed in seeds:
        adapted.append(workspace.root / "adapted" / str(seed))
        save_classifier(tiny_classifier(base, seed=seed), tiny_preprocessor(base), adapted[-1])
    return register_judged(workspace, MODEL, adapted)


def move_champion(version: int) -> None:
    MlflowClient().set_registered_model_alias(MODEL, CHAMPION, str(version))


@dataclass
class Serving:
    """A running `graftline serve`."""

    port: int
    process: "subprocess.Popen[str]"
    log: Path
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content of an answer."""
        given = {"content-type": "application/json", **self.headers, **headers}
        asked = urllib.request.Request(self.address + path, body, given)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.status, _lower(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, _lower(error.headers), error.read()

    def predict(self, *texts: str, **more: Any) -> dict[str, Any]:
        status, _, content = self.ask("/invocations", json.dumps({"inputs": list(texts), **more}).encode())
        assert status == OK, content
        return cast("dict[str, Any]", json.loads(content))

    @property
    def version(self) -> int:
        return cast("int", json.loads(self.ask("/version")[2])["version"])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> dict[str, Any]:
        """Ask it to end; its result."""
        self.process.send_signal(number)
        said = self.process.communicate(timeout=STOP_SECONDS)[0]
        assert self.process.returncode == 0, self.log.read_text()
        return cast("dict[str, Any]", json.loads(said.splitlines()[-1]))


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@contextmanager
def serving(
    root: Path, *options: str, token: str | None = None, start_seconds: float = START_SECONDS, **environment: str
) -> Iterator[Serving]:
    """Serve the model of a project; nothing outlives the block."""
    port, log = free_port(), root / "serve.log"
    own = {"GRAFTLINE_SERVE_TOKEN": token} if token else {}
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "graftline.flows", "serve", MODEL, "--port", str(port), "--json", *options],
            cwd=root, env=surroundings(PYTHONPATH=str(PROJECT), **own, **environment), stdout=subprocess.PIPE,
            stderr=said, text=True,
        )  # fmt: skip
    try:
        wait_until(lambda: process.poll() is not None or is_up(f"http://127.0.0.1:{port}/ping"), start_seconds)
        assert process.poll() is None, log.read_text()
        yield Serving(port, process, log, {"authorization": f"Bearer {token}"} if token else {})
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)


def processes_of(root: Path) -> list[int]:
    """The processes of versions that a server in this project started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if "version_process.py" in told and str(root) in told:
            found.append(int(folder.name))
    return found


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + STOP_SECONDS
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
