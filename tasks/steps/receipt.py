"""After step 7, the receipt: everything that a run rests on, so that the next one sees at once if nothing changed."""

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from graftline.errors import GraftlineError
from graftline.settings import Settings
from graftline.settings.compute import COMPUTE
from graftline.settings.data import STANDS_IN
from graftline.tasks.base_models.store import LOCK_FILE
from graftline.tasks.data.expectation_files import FILES as EXPECTATIONS
from graftline.tasks.data.files import digest_of_rows, files_with_md5, version_of_files
from graftline.tasks.own_code import PACKAGE
from graftline.tasks.registry.carrying_out import questions, read_settled
from graftline.tasks.registry.manifest import require_as_judged
from graftline.tasks.registry.versions import champion_of, verdict_of
from graftline.tasks.step_folders import MANIFEST, StepFolder
from graftline.tasks.steps.data_version import pointer_of
from graftline.tasks.steps.outcome import RunOutcome
from graftline.tasks.steps.publish import WRITTEN, alone_in_reports, pages_of, whose_pages
from graftline.tasks.steps.result import result_of
from graftline.tasks.tracking.server import tracking_uri
from graftline.tasks.tracking.stored_model import stored_model
from graftline.tasks.unchanged.places import Looks, Noted, Place, UnsureError, looked_at, noted
from graftline.tasks.unchanged.receipts import (
    Receipt,
    history_place,
    model_place,
    receipt_path,
    registry_state,
    write_receipt,
)
from graftline.tasks.unchanged.surroundings import surroundings
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import POLICY

COMPILED = "__pycache__"
ROOMS = ("tasks", "flows")

logger = logging.getLogger("graftline.receipt")


@dataclass(frozen=True)
class Beginning:
    """What there was when a run began to read it."""

    settings: Settings
    """As they were asked for: what they leave open, the next run asks for again."""
    surroundings: Mapping[str, JsonValue]
    looks: Mapping[Place, Looks | None]
    young: Mapping[Place, Mapping[str, Noted]]
    """The content of files that were written just then: their times would not tell a change."""


def beginning_of_run(workspace: Workspace, settings: Settings) -> Beginning | None:
    """To be noted before a run reads anything; None where it will not be known what the run has read."""
    root, moment_ns = workspace.root, time.time_ns()
    try:
        looks = {place: looked_at(root, place) for place in (*_inputs(settings), *_code())}
        young = {
            place: noted(root, place, found, moment_ns, only_young=True) for place, found in looks.items() if found
        }
        return Beginning(settings, surroundings(workspace), looks, young)
    except (UnsureError, OSError) as error:
        logger.debug("no receipt: %s", error)
        return None


def keep_receipt(workspace: Workspace, done: RunOutcome, report: Path, beginning: Beginning | None) -> None:
    """Note what a finished run rests on, if that is known for certain and nothing is left to do or to say."""
    if beginning is None or done.decision.due:
        return
    try:
        write_receipt(receipt_path(workspace, beginning.settings), _receipt(workspace, done, report, beginning))
    except (UnsureError, GraftlineError, OSError) as error:  # the run has succeeded all the same
        logger.debug("no receipt: %s", error)


def _receipt(workspace: Workspace, done: RunOutcome, report: Path, beginning: Beginning) -> Receipt:
    model, runs = done.candidate.model, {done.candidate.run_id, done.run.run_id}
    versions = {str(number) for number in (done.candidate.version, champion_of(model)) if number is not None}
    past = history_place(workspace, model)
    before = registry_state(workspace, model, runs, versions), looked_at(workspace.root, past)
    _require_decided(workspace, done)
    files = {
        past: _steady(workspace.root, past),
        **{place: _as_it_began(workspace, place, done, beginning) for place in beginning.looks},
        **{_place(workspace, folder.path): _as_made(workspace, folder) for folder in _step_folders(done)},
        **_base_model(workspace, done),
        **_reports(workspace, done),
        **_registered_models(workspace, model, before[0]["locations"]),
    }
    _require_older_code(beginning)
    if before != (registry_state(workspace, model, runs, versions), looked_at(workspace.root, past)):
        raise UnsureError("the registry changed meanwhile")
    return Receipt(result_of(done, report, 0.0, again=True), beginning.surroundings, before[0], files)


def _inputs(settings: Settings) -> list[Place]:
    """Everything in the project that a run reads, whether it is there or not."""
    data, probe = settings.data, settings.evaluation.probe
    # One that says column=value is of the data themselves.
    others = [one for one in (data.target_domain, settings.evaluation.target_rows) if one and STANDS_IN not in one]
    tables = [data.path, *others, *([probe] if probe else [])]
    # Media of other tables lie beside these.
    folders = [data.model_copy(update={"path": table}).folder for table in tables]
    single = [table for table in tables if ".." in Path(table).parts or Path(table).parts[0] not in folders]
    # A runtime that is left open depends on who computes.
    compute = [COMPUTE] if settings.adaptation.runtime == "auto" else []
    names = [*folders, pointer_of(data.folder), LOCK_FILE, POLICY, *EXPECTATIONS, *compute, *single]
    return [Place(name) for name in dict.fromkeys(names)]


def _code() -> list[Place]:
    """Our own modules; in a checkout two rooms of the package are links."""
    rooms = [Place(str((PACKAGE / room).resolve()), (COMPILED,)) for room in ROOMS]
    return [Place(str(PACKAGE), (COMPILED, *ROOMS)), *rooms]


def _step_folders(done: RunOutcome) -> list[StepFolder]:
    source, domain = done.inputs.source, done.inputs.domain
    return [
        done.inputs.data.folder,
        *(folder for one in (domain, done.inputs.target) if one for folder in (one.rows.folder, one.validated)),
        *([source.rows.folder, source.folder] if source else []),
        *([done.checkpoint.pretrained.folder] if done.checkpoint.pretrained else []),
        done.checkpoint.folder,
        *(rival.folder for rival in done.baselines.rivals.values()),
        done.evaluation.folder,
    ]


def _require_decided(workspace: Workspace, done: RunOutcome) -> None:
    """Whether the verdict is still the one that the run came to, and no other decision of this model waits."""
    model, number = done.candidate.model, done.candidate.version
    settled, stored = read_settled(workspace, model), stored_model(tracking_uri(workspace), model)
    if settled is None or stored is None or number not in stored.versions:
        raise UnsureError(f"{model}: something is left to do or to say")
    record = verdict_of(settled[0], stored.versions[number])
    if record is None or (record.verdict, record.reasons) != (done.decision.verdict, done.decision.reasons):
        raise UnsureError(f"{model} version {number}: was decided about anew")
    if questions(settled[0], stored.versions):
        raise UnsureError(f"{model}: a version waits for an approval")


def _steady(root: Path, place: Place) -> dict[str, Noted] | None:
    """What lies there, if that stays as it is while it is read."""
    moment_ns, looks = time.time_ns(), looked_at(root, place)
    found = None if looks is None else noted(root, place, looks, moment_ns)
    if looked_at(root, place) != looks:
        raise UnsureError(f"{place.path}: changes")
    return found


def _as_it_began(workspace: Workspace, place: Place, done: RunOutcome, beginning: Beginning) -> dict[str, Noted] | None:
    """What lies there, if it is what the run has read."""
    found, began = _steady(workspace.root, place), beginning.looks[place]
    if looked_at(workspace.root, place) != began:
        if place.path != done.inputs.settings.data.folder or not _holds_the_version(workspace, done):
            raise UnsureError(f"{place.path}: changed while the run went on")
    elif found and any(found[name].sha256 != one.sha256 for name, one in beginning.young.get(place, {}).items()):
        raise UnsureError(f"{place.path}: changed just when the run began")
    return found


def _holds_the_version(workspace: Workspace, done: RunOutcome) -> bool:
    """Whether data/ holds what the run had: it may have been checked out by the run itself."""
    data, settings = done.inputs.data.data, done.inputs.settings.data
    if data.modified:
        return False
    found = files_with_md5(workspace.root / settings.folder)
    return version_of_files(found) == data.version and digest_of_rows(data.table, settings.kind, found) == data.sha256


def _as_made(workspace: Workspace, folder: StepFolder) -> dict[str, Noted] | None:
    """The files of a step, if they are those of its manifest."""
    found = _steady(workspace.root, _place(workspace, folder.path)) or {}
    _require(folder.path, found, cast("dict[str, dict[str, str]]", folder.read_json(MANIFEST))["files"])
    return found


def _base_model(workspace: Workspace, done: RunOutcome) -> dict[Place, dict[str, Noted] | None]:
    base = done.inputs.base
    place = _place(workspace, base.path)
    found = _steady(workspace.root, place) or {}
    _require(base.path, found, {file.path: file.sha256 for file in base.files})
    return {place: found}


def _reports(workspace: Workspace, done: RunOutcome) -> dict[Place, dict[str, Noted] | None]:
    """The pages, if they are of this run: another one may have written its own since."""
    with alone_in_reports(workspace):
        places = [_place(workspace, workspace.reports / name) for name in WRITTEN]
        found = {place: _steady(workspace.root, place) for place in places}
        if whose_pages(workspace) != pages_of(done):
            raise UnsureError(f"{workspace.reports}: holds the pages of another run")
    return found


def _registered_models(
    workspace: Workspace, model: str, locations: Mapping[str, str]
) -> dict[Place, dict[str, Noted] | None]:
    """The files of candidate and champion that lie on this machine, if they are those that were judged."""
    files = {}
    for number, location in locations.items():
        if place := model_place(workspace, location):
            files[place] = _steady(workspace.root, place)
            require_as_judged(workspace, model, int(number))
    return files


def _require(path: Path, found: Mapping[str, Noted], expected: Mapping[str, str]) -> None:
    if {name: one.sha256 for name, one in found.items() if name != MANIFEST} != expected:
        raise UnsureError(f"{path}: is damaged")


def _require_older_code(beginning: Beginning) -> None:
    """Modules are read as they are imported: one that changed since the start may have been read before or after."""
    started_ns = _process_start_ns()
    for place in _code():
        for name, look in (beginning.looks[place] or {}).items():
            if max(look.mtime_ns, look.ctime_ns) >= started_ns:
                raise UnsureError(f"{place.path}/{name}: changed while the process ran")


def _process_start_ns() -> int:
    """When this process began, by the clock that files are dated with."""
    ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    age_seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time_ns() - int(age_seconds * 1e9)


def _place(workspace: Workspace, folder: Path) -> Place:
    return Place(folder.relative_to(workspace.root).as_posix())
