"""Asking a registered model in a process of its own, as a server would: with its own code, nothing of ours loaded."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftline.errors import RegistryRefusedError
from graftline.settings import Task
from tasks.artifacts import Workspace
from tasks.tracking import tracking_uri

if TYPE_CHECKING:
    from graftline.metrics import Floats

# Loading takes seconds and a row milliseconds; whatever hangs for this long will not come back.
TIMEOUT_SECONDS = 3600
# MLflow repeats the whole input in some of its errors.
SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class Scored:
    """What a registered model answered."""

    task: Task
    labels: list[str]
    """In the model's order; none where it answers numbers."""
    predictions: "Floats"
    """Probabilities (inputs, labels), or numbers (inputs, 1)."""


def score_in_fresh_process(workspace: Workspace, uri: str, questions: list[str], *, threads: int) -> Scored:
    """Load the registered model `uri` in a new process and have it predict; of files it is told the paths.

    Raises: RegistryRefusedError with the last line of what the process said if it cannot.
    """
    with tempfile.TemporaryDirectory() as scratch:
        asked, answers = Path(scratch) / "questions.json", Path(scratch) / "answers.json"
        asked.write_text(json.dumps(questions), encoding="utf-8")
        command = [sys.executable, "-m", "tasks.ask_registered", uri, str(asked), str(answers), str(threads)]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri(workspace)}
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and module
                command, cwd=workspace.root, env=environment, capture_output=True, text=True,
                timeout=TIMEOUT_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise _failed(uri, f"no answer in {TIMEOUT_SECONDS} seconds") from None
        if done.returncode != 0 or not answers.exists():
            raise _failed(uri, (done.stderr.strip().splitlines() or ["no message"])[-1])
        answered = json.loads(answers.read_text(encoding="utf-8"))
    return _scored(answered)


def _scored(answered: list[dict[str, Any]]) -> Scored:
    """What the answers say; which columns they have shows the task."""
    import numpy as np

    if "value" in answered[0]:
        return Scored("regression", [], np.array([[row["value"]] for row in answered], dtype=float))
    labels = list(answered[0]["probabilities"])
    values = np.array([[row["probabilities"][label] for label in labels] for row in answered], dtype=float)
    return Scored("multi_label" if "labels" in answered[0] else "single_label", labels, values)


def _failed(uri: str, said: str) -> RegistryRefusedError:
    why = said if len(said) <= SHOWN_CHARACTERS else said[:SHOWN_CHARACTERS] + "…"
    return RegistryRefusedError(
        f"{uri}: the registered model does not answer in a fresh process ({why});"
        " expected labels and probabilities, or a value, for each input; see the version's files in MLflow"
    )
