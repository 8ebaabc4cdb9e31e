"""A look at all that a run needs, without training: settings, data, base model, policy, servers, room, time."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from graftline.answers.tasks import targets_in
from graftline.errors import DataRefusedError, GraftlineError, ServerAwayError
from graftline.settings import Settings
from graftline.settings.adaptation import AUTO
from graftline.settings.refitting import learns_again
from graftline.tasks.base_models.locking import locked_model
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.dvc_folder import objects_folder
from graftline.tasks.data.findings import Findings
from graftline.tasks.data.validation import look_into
from graftline.tasks.progress import duration, waiting
from graftline.tasks.readiness import missing_things, policy_for
from graftline.tasks.room import free_room, needed_room, require_room
from graftline.tasks.state.shared import PROBE, STATE, shared_state
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.untouched_base import frozen_rate
from graftline.tasks.tracking.addresses import without_password
from graftline.tasks.tracking.server import no_answer
from graftline.tasks.workspace import Workspace

# The variables that name servers.
SERVERS = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL")
SAMPLE_ROWS = 32
# A step forward and backward takes about three times as long as one forward.
TRAINING_FACTOR = 3
# Rows that a step of contrastive training runs for each of its rows.
PAIR = 2


@dataclass(frozen=True)
class Finding:
    """The outcome of one look: what was found, or the sentences that say what to mend."""

    what: str
    found: str = ""
    faults: tuple[str, ...] = ()
    exit_code: int = 0

    @property
    def ok(self) -> bool:
        return not self.faults


def look_at_project(root: Path, settings: Settings) -> Iterator[Finding]:
    """One finding after the other, cheapest first; whatever is missing ends what would stand on it."""
    workspace = Workspace(root)
    yield Finding("settings", f"model {settings.registry.model}, strategy {settings.adaptation.strategy}")
    yield _finding("policy", lambda: _policy(workspace, settings))
    missing = missing_things(root, settings)
    ready = {kind: tuple(one.sentence for one in missing if one.kind == kind) for kind in ("data", "base model")}
    seen: list[Findings] = []
    stored: list[BaseModel] = []
    if ready["data"]:
        yield Finding("data", faults=ready["data"], exit_code=3)
    else:
        yield _finding("data", lambda: _data(workspace, settings, seen))
    if ready["base model"]:
        yield Finding("base model", faults=ready["base model"], exit_code=4)
    else:
        yield _finding("base model", lambda: _base_model(workspace, settings, stored))
    for variable in SERVERS:
        yield _finding(variable, partial(_server, variable))
    if os.environ.get(STATE):
        yield _finding(STATE, _state)
    if stored:
        yield _finding("disk and memory", lambda: _room(root, settings, stored[0].bytes))
    if stored and seen:
        yield _finding("time", lambda: _time(workspace, settings, seen[0], stored[0]))


def _finding(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, look())
    except GraftlineError as error:
        return Finding(what, faults=(error.sentence, *error.causes), exit_code=error.exit_code)


def _policy(workspace: Workspace, settings: Settings) -> str:
    policy_for(workspace, settings)
    return (
        "of the project" if workspace.policy.is_file() else "the default one; `graftline settings policy` explains it"
    )


def _data(workspace: Workspace, settings: Settings, seen: list[Findings]) -> str:
    version = data_version.fn(workspace, settings.data)
    findings = Findings()
    folder = workspace.root / settings.data.folder
    targets, cache = targets_in(settings.data), objects_folder(workspace.root)
    with waiting("looking at the data"):
        for findings in look_into(version.table, folder, settings.data, targets, cache=cache):  # noqa: B007 - newest
            pass
    if findings.refused:
        failed = [check for check in findings.checks if not check.success and check.expectation.level == "set"]
        raise DataRefusedError(
            f"{settings.data.path}: the data would be refused; mend them or the data settings",
            [f"{check.expectation.meaning}: {check.seen}" for check in failed],
        )
    seen.append(findings)
    counts = ", ".join(f"{row['label']} {row['rows']}" for row in findings.classes)
    rows = f"{len(findings.rows)} rows, {len(findings.reasons)} of them faulty"
    return f"{rows}{f'; {counts}' if counts else ''}{'; differs from its version' if version.modified else ''}"


def _base_model(workspace: Workspace, settings: Settings, stored: list[BaseModel]) -> str:
    uri = settings.base_model.uri
    locked = locked_model(workspace, uri)
    here = (workspace.artifacts / "base_models" / locked.digest).is_dir()
    if not here and uri.partition(":")[0] not in ("package", "path"):
        return f"{uri}: locked, {locked.bytes / 1e6:.1f} MB; not fetched yet, which the first run does"
    model = fetch_model.fn(workspace, uri)
    stored.append(model)
    return f"{uri}: {model.bytes / 1e6:.1f} MB, every byte as locked"


def _state() -> str:
    """Writes a file there, as every run does."""
    state = shared_state()
    assert state is not None
    state.room().replace(PROBE, b"looked at by `graftline check`\n")
    return f"{state.address} takes what is written"


def _server(variable: str) -> str:
    address = os.environ.get(variable, "")
    shown = without_password(address)
    if not address.startswith(("http://", "https://")):
        return f"{shown or 'not set'}: no server is asked"
    if fault := no_answer(address):
        raise ServerAwayError(
            f"{variable} {shown}: no server answers there ({fault}); start one with `graftline up`, or unset it"
        )
    return f"{shown} answers"


def _room(root: Path, settings: Settings, model_bytes: int) -> str:
    require_room(root, settings.adaptation, model_bytes)
    needed, free = needed_room(settings.adaptation, model_bytes), free_room(root)
    if free is None:
        return f"a run needs about {needed.memory / 1e9:.1f} GB; this machine does not say how much memory is free"
    return (
        f"disk {free.disk / 1e9:.1f} GB free, a run needs about {needed.disk / 1e9:.1f}; memory"
        f" {free.memory / 1e9:.1f} GB free, about {needed.memory / 1e9:.1f}"
    )


@waiting("measuring how fast the base model is")
def _time(workspace: Workspace, settings: Settings, findings: Findings, base: BaseModel) -> str:
    """The time of the training alone, from a few rows that ran through the base model just now."""
    began = time.monotonic()
    rate = frozen_rate(workspace, settings, base, _sample(findings))
    rows = len(findings.accepted)
    learning = (1 - settings.data.test_share - settings.data.validation_share) * rows
    seconds = expected_seconds(settings, rows=rows, learning=learning, rate=rate)
    shown = " · ".join(f"{name} about {duration(value)}" for name, value in seconds.items())
    return f"training: {shown} ({rate:.0f} rows/s, measured in {time.monotonic() - began:.0f} s; give or take a half)"


def expected_seconds(settings: Settings, *, rows: int, learning: float, rate: float) -> Mapping[str, float]:
    """About how long a training takes, and the fastest one, if so many rows per second pass the base model."""
    passes, fastest = settings.adaptation, "feature_extraction"
    once = rows / rate
    pretraining = passes.pretraining_epochs * TRAINING_FACTOR * learning / rate
    if passes.strategy == fastest:
        return {fastest: pretraining + once}
    trained = passes.epochs * passes.runs * (TRAINING_FACTOR * learning / rate + (rows - learning) / rate / 2)
    if learns_again(passes, labelled := round((1 - settings.data.test_share) * rows)):
        trained += passes.epochs * TRAINING_FACTOR * labelled / rate
    if passes.strategy in ("contrastive", AUTO):
        trained *= PAIR
    if passes.strategy == AUTO:
        trained += passes.auto_passes * TRAINING_FACTOR * learning / rate
    head = once if passes.strategy in ("probe_then_fine_tune", "contrastive", AUTO) else 0.0
    most = "at most " if passes.freeze_until or passes.strategy == AUTO else ""
    return {f"{most}{passes.strategy}".strip(): pretraining + trained + head, fastest: pretraining + once}


def _sample(findings: Findings) -> list[str]:
    facts = findings.facts
    assert facts is not None
    accepted = findings.accepted
    spread = accepted[:: max(1, len(accepted) // SAMPLE_ROWS)][:SAMPLE_ROWS]
    return [str(text) for text in facts.columns["input"].at(spread)]
