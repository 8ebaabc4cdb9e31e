"""What calls for a new candidate, and which candidates there were: what the retraining policy decides by."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from graftline.tasks.registry.carrying_out import questions
from graftline.tasks.registry.history import read_history
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.versions import DATA_VERSION, RUN_KEY, versions_of
from graftline.tasks.tracking.git import git
from graftline.tasks.tracking.left_runs import ORCHESTRATED_BY
from graftline.tasks.tracking.server import client, experiments_with_runs_of
from graftline.tasks.watching.kept_looks import Look
from graftline.tasks.workspace import Workspace
from graftline.watching.looks import ANSWER_SIGNALS, INPUT_SIGNALS, Signal
from graftline.watching.retraining import Candidate, Event, Trigger

if TYPE_CHECKING:
    from mlflow.entities import Run

RUN_PAGE = 1_000


def trigger_of(signal: Signal) -> Trigger:
    """What an alarm of a signal is called in the policy."""
    if signal in INPUT_SIGNALS:
        return "input_drift"
    return "answer_drift" if signal in ANSWER_SIGNALS else "score_drop"


def alarm_events(looks: Sequence[Look]) -> list[Event]:
    """The alarms of all looks, each when its look was had, or, in a replay, when its day was over.

    A candidate that was started in between knew nothing of it.
    """
    last_of = {look.number: look.last for look in looks}
    had_of = {look.number: look.had or end_of(look.last) for look in looks}
    raised = {(signal, number) for look in looks for signal, number in look.alarms.items()}
    return [
        Event(trigger_of(signal), had_of[number], f"{signal.replace('_', ' ')} on {last_of[number]}")
        for signal, number in sorted(raised, key=lambda one: (one[1], one[0]))
    ]


def end_of(day: date) -> datetime:
    """The moment at which a day of UTC is over."""
    return datetime.combine(day + timedelta(days=1), time.min, UTC)


def past_candidates(
    workspace: Workspace, model: str, under_way: Mapping[str, datetime] | None = None
) -> list[Candidate]:
    """The runs that made, or make, a version of the model, the oldest first.

    `under_way`: Prefect's runs and when they began, of which MLflow may not know yet.
    """
    records = read_history(workspace, model)
    waiting = {record.run_id for record in questions(records, versions_of(model))}
    # The newest of them, where there are more: the policy goes by those.
    found = client().search_runs(
        experiments_with_runs_of(workspace, model), max_results=RUN_PAGE, order_by=["attributes.start_time DESC"]
    )
    tracked = {run.data.tags.get(ORCHESTRATED_BY) for run in found}
    begun = [Candidate(when, None) for run, when in (under_way or {}).items() if run not in tracked]
    past = [_candidate(run, records, run.info.run_id in waiting) for run in found if RUN_KEY in run.data.tags]
    return sorted([*past, *begun], key=lambda one: one.started)


def new_data_event(workspace: Workspace, model: str, pointer: str, branch: str | None, now: datetime) -> Event | None:
    """That the .dvc file at the branch's head names a data version of which no candidate was made, if it does.

    With a remote the branch is fetched first; nothing in the working tree is touched.
    """
    pointed = _pointed_at(workspace.root, pointer, branch)
    if pointed is None:
        return None
    tried = {version.tags.get(DATA_VERSION) for version in versions_of(model).values()}
    found = client().search_runs(experiments_with_runs_of(workspace, model), max_results=RUN_PAGE)
    tried |= {run.data.tags.get(DATA_VERSION) for run in found}
    if pointed in tried:
        return None
    where = f"at the head of {branch}" if branch else "in the project"
    return Event("new_data_version", now, f"{pointer} {where} names {pointed[:12]}")


def data_events(root: Path, pointer: str, first: date, last: date) -> list[Event]:
    """The commits of a past period that changed the data version."""
    said = git(root, "log", "--first-parent", "--reverse", "--format=%H %cI", "--", pointer) or ""
    found, known = [], None
    for line in said.splitlines():
        commit, moment = line.split()
        version, when = _version_in(git(root, "show", f"{commit}:./{pointer}")), datetime.fromisoformat(moment)
        if version and version != known and known is not None and first <= when.astimezone(UTC).date() <= last:
            found.append(Event("new_data_version", when.astimezone(UTC), f"{pointer} names {version[:12]}"))
        known = version or known
    return found


def _candidate(run: "Run", records: Sequence[Record], waits: bool) -> Candidate:
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return Candidate(started, next(_hours(run, records, started), None), waits)


def _hours(run: "Run", records: Sequence[Record], started: datetime) -> Iterator[float]:
    """Until its verdict: a run that waited for a person's word was ended long after its work."""
    for record in records:
        if record.action == "verdict" and record.run_id == run.info.run_id:
            yield max(0.0, (datetime.fromisoformat(record.when) - started) / timedelta(hours=1))
    if run.info.end_time and run.info.status != "RUNNING":
        yield (datetime.fromtimestamp(run.info.end_time / 1000, UTC) - started) / timedelta(hours=1)


def _pointed_at(root: Path, pointer: str, branch: str | None) -> str | None:
    if branch and git(root, "remote") and git(root, "fetch", "--quiet", "origin", branch) is not None:
        return _version_in(git(root, "show", f"FETCH_HEAD:./{pointer}"))
    if branch:
        return _version_in(git(root, "show", f"{branch}:./{pointer}"))
    file = root / pointer
    return _version_in(file.read_text(encoding="utf-8")) if file.is_file() else None


def _version_in(pointer: str | None) -> str | None:
    """The data version that a .dvc file names."""
    try:
        said: Any = yaml.safe_load(pointer or "")
        return str(said["outs"][0]["md5"]).removesuffix(".dir")
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        return None
