"""Asking a registered model in a process of its own, as a server would: with its own code, nothing of ours loaded."""

import base64
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftline.errors import RegistryRefusedError
from graftline.settings import Task
from graftline.tasks.children import run_child
from graftline.tasks.progress import waiting
from graftline.tasks.scratch import scratch_folder
from graftline.tasks.serving import fresh_process, from_source
from graftline.tasks.serving.earlier_forms import warn_of_earlier_forms
from graftline.tasks.serving.fresh_process import (
    AFTERWARDS,
    EARLIER,
    FILES,
    FORM,
    OUTCOMES,
    REQUESTS,
    TEXTS,
    TIMED,
    VECTORS,
    WITH_VECTORS,
)
from graftline.tasks.serving.hostile_requests import HostileRequest, hostile_requests
from graftline.tasks.tracking.model_files import require_files
from graftline.tasks.tracking.server import model_folder, patiently_asked, tracking_uri
from graftline.tasks.workspace import Workspace
from graftline.verdict.behaviour_axes import ANSWERED, REFUSED
from graftline.wording import shortened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from graftline.evaluation.metrics import Floats, Integers

# Loading takes seconds and a row milliseconds; whatever hangs for this long will not come back.
TIMEOUT_SECONDS = 3600
# MLflow repeats the whole input in some of its errors.
SHOWN_CHARACTERS = 300
# Statuses of HTTP: from the first on it is an error; with the other MLflow's server gives a request up.
CLIENT_ERROR, TIMED_OUT = 400, 504

# Texts, or the paths of files.
Questions = Sequence[str | Path]

logger = logging.getLogger("graftline.serving")


@dataclass(frozen=True)
class Scored:
    """A registered model's answers."""

    task: Task
    labels: list[str]
    """In the model's order; none where it answers numbers."""
    predictions: "Floats"
    """Probabilities (inputs, labels), or numbers (inputs, 1)."""
    vectors: "NDArray[np.float32] | None" = None
    """What its head read of each input (inputs, width), if that was asked for and it can tell."""
    further: "Mapping[str, Scored]" = field(default_factory=dict)
    """Its answers for more targets than the first one, by their names."""

    def of_target(self, name: str | None) -> "Scored | None":
        """Its answers for one target, None for the first one; none where it has no such target."""
        return self if name is None else self.further.get(name)

    def at(self, places: "Integers") -> "Scored":
        """Its answers for some of the inputs."""
        further = {name: one.at(places) for name, one in self.further.items()}
        return replace(self, predictions=self.predictions[places], further=further)


@dataclass(frozen=True)
class Trial:
    """How a registered model does as a server."""

    requests: int
    """How many requests with one input were timed, one after the other and without a network."""
    median_milliseconds: float
    p95_milliseconds: float
    memory_megabytes: float | None
    """Most memory that the process had while they were answered; None where the system does not tell."""
    hostile: Mapping[str, str]
    """The outcome of each hostile request: refused, answered, or what is wrong with it."""

    @property
    def limited(self) -> dict[str, float]:
        """The measurements that the policy can limit, by the names of its limits."""
        memory = {} if self.memory_megabytes is None else {"memory_megabytes": self.memory_megabytes}
        return {"p95_milliseconds": self.p95_milliseconds, **memory}


def score_in_fresh_process(
    workspace: Workspace,
    uri: str,
    questions: Questions,
    *,
    threads: int,
    files: Mapping[str, str] | None = None,
    with_vectors: bool = False,
) -> Scored:
    """Load the registered model `uri` in a new process and have it predict; of files it is told the paths.

    With `files`, the digests of all that it consists of, these are compared before any code of it runs.
    Raises: ChangedFilesError if they differ; RegistryRefusedError with the last line of what the process said if it
    does not answer.
    """
    with scratch_folder(workspace) as folder:
        return _ask(workspace, uri, questions, folder, threads=threads, files=files, with_vectors=with_vectors)


def try_in_fresh_process(
    workspace: Workspace, uri: str, questions: Questions, *, threads: int, files: Mapping[str, str] | None = None
) -> tuple[Scored, Trial]:
    """The same, and before it single requests that are timed, and after it hostile ones.

    Raises: RegistryRefusedError if it does not answer; not for what hostile requests do to it.
    """
    hostile = hostile_requests()
    with scratch_folder(workspace) as folder:
        written = [{**asdict(request), "body": base64.b64encode(request.body).decode()} for request in hostile]
        (folder / REQUESTS).write_text(json.dumps(written), encoding="utf-8")
        scored = _ask(workspace, uri, questions, folder, threads=threads, files=files, trial=True)
        return scored, trial_of(folder, hostile)


def _ask(
    workspace: Workspace,
    uri: str,
    questions: Questions,
    folder: Path,
    *,
    threads: int,
    files: Mapping[str, str] | None,
    trial: bool = False,
    with_vectors: bool = False,
) -> Scored:
    """What the process answers. Of a model with known files the very copy is loaded that was compared with them."""
    ask = partial(_asked_once, workspace, uri, threads=threads, trial=trial, with_vectors=with_vectors)
    if files is None:
        return patiently_asked(workspace, lambda: ask(uri, questions, folder))
    with model_folder(workspace, uri) as model:
        require_files(uri.removeprefix("models:/").replace("/", " version "), model, files)
        return ask(str(model), questions, folder)


def _asked_once(
    workspace: Workspace,
    uri: str,
    model: str,
    questions: Questions,
    folder: Path,
    *,
    threads: int,
    trial: bool,
    with_vectors: bool,
) -> Scored:
    """The answers of the model `uri`, which is loaded from `model`: MLflow's server, or a folder."""
    asked, answers = folder / "questions.jsonl", folder / "answers.jsonl"
    form = FILES if questions and isinstance(questions[0], Path) else TEXTS
    with asked.open("w", encoding="utf-8") as file:
        file.write(json.dumps({FORM: form, WITH_VECTORS: with_vectors}) + "\n")
        file.writelines(json.dumps(str(question)) + "\n" for question in questions)
    # As a file and not as a module, with no folder of ours on the path: graftline is the model's to import.
    command = [sys.executable, "-P", fresh_process.__file__, model, str(asked), str(answers), str(threads)]
    if model != uri:
        command[2:2] = [from_source.__file__, model]
    # Where MLflow puts the copy of a model that lies on a server, which it does not remove.
    (copies := folder / "copies").mkdir(exist_ok=True)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri(workspace), "TMPDIR": str(copies)}
    try:
        with waiting(f"{uri} in a fresh process"):
            done = run_child(
                [*command, *([str(folder)] if trial else [])],
                folder=workspace.root,
                environment=environment,
                seconds=TIMEOUT_SECONDS,
                keep_errors=True,
            )
    except subprocess.TimeoutExpired:
        raise _failed(uri, f"no answer in {TIMEOUT_SECONDS} seconds") from None
    # After its answers, a process on trial may have died of a hostile request.
    if (done.returncode != 0 and not trial) or not answers.exists():
        raise _failed(uri, (done.stderr.strip().splitlines() or ["no message"])[-1])
    if (folder / EARLIER).exists():
        warn_of_earlier_forms(uri.removeprefix("models:/"))
    return replace(_read_answers(uri, answers), vectors=_vectors(folder / VECTORS, len(questions)))


def _read_answers(uri: str, path: Path) -> Scored:
    """Those that the process wrote, each line by itself: as Python's objects all would take too much memory."""
    with path.open(encoding="utf-8") as file:
        return _joined(uri, [_scored(uri, json.loads(some)) for some in file])


def _vectors(path: Path, rows: int) -> "NDArray[np.float32] | None":
    """As many of them as there are questions, or none."""
    import numpy as np

    if not path.exists():
        return None
    found: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return found if len(found) == rows else None


def trial_of(folder: Path, hostile: Sequence[HostileRequest]) -> Trial:
    """The trial that a process wrote into `folder`, as far as it got."""
    import numpy as np

    timed = json.loads((folder / TIMED).read_text(encoding="utf-8"))
    median, p95 = np.percentile(timed["milliseconds"], [50, 95]).round(2).tolist()
    peak = timed["peak_memory_bytes"]
    lines = (folder / OUTCOMES).read_text(encoding="utf-8").splitlines() if (folder / OUTCOMES).exists() else []
    told = {line["name"]: line for line in map(json.loads, lines)}
    outcomes = {request.name: _outcome(told.get(request.name), request) for request in hostile}
    after = told.get(AFTERWARDS)
    outcomes[AFTERWARDS] = ANSWERED if after and after["fine"] else "not answered as before"
    faults = [f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome not in (REFUSED, ANSWERED)]
    logger.info(
        "serving: median %.1f ms, 95th percentile %.1f ms; %d of %d hostile requests well behaved%s",
        median,
        p95,
        len(outcomes) - len(faults),
        len(outcomes),
        "".join(f"; {fault}" for fault in faults),
    )
    return Trial(len(timed["milliseconds"]), median, p95, peak and round(peak / 1e6, 1), outcomes)


def _outcome(told: Mapping[str, Any] | None, request: HostileRequest) -> str:
    if told is None:
        return "no answer, the process had ended"
    if told["status"] >= CLIENT_ERROR:
        return REFUSED if told["status"] != TIMED_OUT else "no answer in time"
    if not told["fine"]:
        return "answered with what is no number"
    return ANSWERED if request.may_be_answered else "answered, expected an error"


def _scored(uri: str, answered: list[dict[str, Any]]) -> Scored:
    """The meaning of the answers; their columns show targets and tasks."""
    from graftline.models.outputs import by_target

    told = [by_target(row) for row in answered]
    each = {name: _scored_target(uri, [row[name] for row in told]) for name in told[0]}
    if None not in each:
        raise _failed(uri, f"its answers have the columns {', '.join(answered[0])}, none of a first target")
    return replace(each[None], further={name: one for name, one in each.items() if name is not None})


def _joined(uri: str, parts: Sequence[Scored]) -> Scored:
    """The answers for all questions, from those for some of them at a time."""
    from graftline.evaluation.given import joined

    first = parts[0]
    told = [(one.task, one.labels, one.further.keys()) for one in parts]
    if any(one != told[0] for one in told):
        raise _failed(uri, "its answers have other labels for some inputs than for others")
    further = {name: _joined(uri, [one.further[name] for one in parts]) for name in first.further}
    return replace(first, predictions=joined([one.predictions for one in parts]), further=further)


def _scored_target(uri: str, answered: list[dict[str, Any]]) -> Scored:
    from graftline.answers.tasks import TASKS

    for name, task in TASKS.items():
        if task.outputs.columns.keys() == answered[0].keys():
            return Scored(name, *task.outputs.understood(answered))
    raise _failed(uri, f"its answers have the columns {', '.join(answered[0])}, which are those of no task")


def _failed(uri: str, said: str) -> RegistryRefusedError:
    return RegistryRefusedError(
        f"{uri}: the registered model does not answer in a fresh process ({shortened(said, SHOWN_CHARACTERS)});"
        " expected labels and probabilities, or a value, for each input; see the version's files in MLflow"
    )
