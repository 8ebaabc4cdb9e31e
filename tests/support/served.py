"""Registered models of each kind as folders, without a run or a registry, and MLflow's server around them."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import graftline
from graftline.models.folders import load_preprocessor, save_classifier
from graftline.models.preprocessing import Reading
from graftline.settings import Kind
from graftline.tasks.steps.served_parts import served_parts
from tests.support.running_project import free_port, wait_until
from tests.support.tiny_media import MediaArchitecture, tiny_media_classifier, write_tiny_media_model
from tests.support.tiny_models import tiny_classifier, tiny_preprocessor, write_tiny_model
from tests.support.tiny_project import surroundings

TINY_MEDIA: dict[Kind, MediaArchitecture] = {"image": "timm resnet", "audio": "wav2vec2"}
STOP_SECONDS = 20


def write_adapted(folder: Path, kind: Kind) -> Path:
    """A tiny adapted model with random weights that answers with one of two labels."""
    if kind == "text":
        base = write_tiny_model(folder / "base")
        save_classifier(tiny_classifier(base), tiny_preprocessor(base), folder / "adapted")
    else:
        base = write_tiny_media_model(folder / "base", TINY_MEDIA[kind])
        model = tiny_media_classifier(base, TINY_MEDIA[kind])
        save_classifier(model, load_preprocessor(base, Reading(kind)), folder / "adapted")
    return folder / "adapted"


def write_registered(folder: Path, kind: Kind, *, column: str | None = None) -> Path:
    """It as MLflow keeps it; `column` is the one that it was trained to read."""
    import mlflow

    adapted = write_adapted(folder, kind)
    parts = served_parts(adapted, kind, "single_label", column=column or kind, scratch=folder / "scratch")
    mlflow.pyfunc.save_model(path=folder / "registered", **parts)
    return folder / "registered"


@contextmanager
def served(model: str | Path, log: Path, **environment: str) -> Iterator[str]:
    """The address of MLflow's server around a registered model: the README's command, in a process of its own."""
    port = str(free_port())
    command = ["models", "serve", "-m", str(model), "--env-manager", "local", "--host", "127.0.0.1", "-p", port]
    # MLflow starts another command of this environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command], cwd=Path(graftline.__file__).parents[1], stdout=file,
            stderr=file, env=surroundings(**environment, PATH=path), start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: process.poll() is not None or is_up(f"http://127.0.0.1:{port}/ping"))
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(STOP_SECONDS)


def is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


def answered(table: Any) -> list[dict[str, Any]]:
    """What a loaded model answered, a mapping per row."""
    rows: list[dict[str, Any]] = table.to_dict("records")
    return rows
