"""50 clients at `graftline serve` and at MLflow's own server, by turns, and an alias that moves under them.

Run: .venv/bin/python -m benchmarks.serving --adapted FOLDER [--turns 3] [--seconds 10]
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from benchmarks.serving.clients import Crowd, Seen
from benchmarks.serving.page import Measured, Switch, Turn, write_page
from benchmarks.serving.registry import register_judged
from benchmarks.speed.machine import describe
from graftline.tasks.tracking.server import connect
from graftline.tasks.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[2]
MODEL, CLIENTS, TEXTS = "reviews", 50, 2_000
START_SECONDS, WARM_UP_SECONDS, SEED = 300, 3, 0
OURS = "graftline serve"


@dataclass(frozen=True)
class Side:
    """A server and how it is started."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Server:
    """A side that runs."""

    port: int
    process: psutil.Process

    def computed(self) -> float:
        """Seconds of processor that it and all that it started have used."""
        times = [one.cpu_times() for one in (self.process, *self.process.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workspace = Workspace(Path(folder))
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        connect(workspace)
        registered = register_judged(workspace, MODEL, [options.adapted] * 2)
        bodies = _bodies(options.reviews)
        servers = {side.name: stack.enter_context(_running(side, workspace.root)) for side in _sides(registered[0])}
        for server in servers.values():
            _measure(server, bodies, WARM_UP_SECONDS)
        turns = [_turn(servers, bodies, options.seconds, number) for number in range(options.turns)]
        switch = _switch(servers[OURS], bodies, options.seconds)
    write_page(options.page, describe(_cores()), turns, switch, load=os.getloadavg()[1])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapted", type=Path, required=True, help="an adapted text model, as fine_tune/KEY/model is")
    parser.add_argument("--reviews", type=Path, default=PROJECT / "data" / "reviews.csv")
    parser.add_argument("--page", type=Path, default=PROJECT / "docs" / "measurements" / "serving.md")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    return parser.parse_args()


def _sides(registered: Path) -> Iterator[Side]:
    """Ours, and MLflow's with one process of all cores, and with a process for each core."""
    cores = _cores()
    yield Side(OURS, ("graftline.flows", "serve", MODEL, "--port"), {})
    serve = ("mlflow", "models", "serve", "-m", str(registered), "--env-manager", "local", "--workers")
    for workers in dict.fromkeys((1, cores)):
        threads = str(max(1, cores // workers))
        name = f"MLflow's server, {workers} worker{'s' * (workers > 1)}"
        yield Side(name, (*serve, str(workers), "--port"), {"OMP_NUM_THREADS": threads})


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _bodies(reviews: Path) -> list[bytes]:
    texts = pd.read_csv(reviews)["text"].astype(str).sample(TEXTS, random_state=SEED)
    return [json.dumps({"inputs": [text]}).encode() for text in texts]


@contextmanager
def _running(side: Side, root: Path) -> Iterator[Server]:
    port = _free_port()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    log = root / f"{side.name.replace(' ', '_')}.log"
    with log.open("w") as said:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            [sys.executable, "-m", *side.command, str(port)],
            cwd=root,
            env={**os.environ, **side.environment, "PATH": path, "PYTHONPATH": str(PROJECT)},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        _wait_for(port, process, log)
        yield Server(port, psutil.Process(process.pid))
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text()) from None
            time.sleep(0.2)


def _measure(server: Server, bodies: Sequence[bytes], seconds: float) -> Measured:
    crowd, end = Crowd(server.port, bodies), time.monotonic() + seconds
    began, computed = time.monotonic(), server.computed()
    asyncio.run(crowd.ask(CLIENTS, lambda: time.monotonic() >= end))
    return _measured(crowd.seen, crowd.lost, time.monotonic() - began, server.computed() - computed)


def _measured(seen: Sequence[Seen], lost: Sequence[str], seconds: float, computed: float) -> Measured:
    taken = [1000 * (one.ended - one.began) for one in seen]
    failed = len(lost) + sum(one.status != 200 for one in seen)
    median, p95 = np.percentile(taken, [50, 95]) if taken else (float("nan"),) * 2
    return Measured(len(seen) / seconds, len(seen) / computed, float(median), float(p95), failed, len(seen))


def _turn(servers: Mapping[str, Server], bodies: Sequence[bytes], seconds: float, number: int) -> Turn:
    """Every side once, each turn beginning with another one."""
    names = list(servers)
    order = names[number % len(names) :] + names[: number % len(names)]
    return {name: _measure(servers[name], bodies, seconds) for name in order}


def _switch(server: Server, bodies: Sequence[bytes], seconds: float) -> Switch:
    """The alias moves while all clients ask; they go on for as long again after the new version answers."""
    from mlflow import MlflowClient

    crowd = Crowd(server.port, bodies)
    thread = threading.Thread(target=lambda: asyncio.run(crowd.ask(CLIENTS)))
    began = time.monotonic()
    thread.start()
    time.sleep(seconds)
    moved = time.monotonic()
    MlflowClient().set_registered_model_alias(MODEL, "champion", "2")
    while not any(one.version == 2 for one in crowd.seen[-CLIENTS:]):
        time.sleep(0.05)
    time.sleep(seconds)
    crowd.stopped = True
    thread.join()
    switched = min(one.ended for one in crowd.seen if one.version == 2)
    parts = {
        "before": [one for one in crowd.seen if one.ended < moved],
        "while the new version starts": [one for one in crowd.seen if moved <= one.ended < switched],
        "after": [one for one in crowd.seen if one.ended >= switched],
    }
    spans = dict(zip(parts, (moved - began, switched - moved, time.monotonic() - switched), strict=True))
    return Switch(
        seconds=switched - moved,
        old_afterwards=sum(one.version == 1 and one.began > switched for one in crowd.seen),
        # Which part a lost request belongs to is not known.
        parts={
            name: _measured(seen, crowd.lost if name == "after" else (), spans[name], float("nan"))
            for name, seen in parts.items()
        },
    )


if __name__ == "__main__":
    main()
