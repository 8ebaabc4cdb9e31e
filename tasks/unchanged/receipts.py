"""Receipts of finished runs: what came of one, and everything that it rests on, in `artifacts/runs/`."""

import json
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import JsonValue

from graftline.digests import json_sha256
from graftline.errors import GraftlineError
from graftline.settings import Settings
from graftline.tasks.registry.history import history_folder, read_history
from graftline.tasks.registry.versions import NAME
from graftline.tasks.registry.witnessing import NOTE
from graftline.tasks.state.folder import REPLACING, Folder
from graftline.tasks.state.room import Kept
from graftline.tasks.state.shared import shared_state
from graftline.tasks.tracking.model_files import ADDED_BY_MLFLOW, COMPILED
from graftline.tasks.tracking.server import connect, tracking_uri
from graftline.tasks.tracking.stored_model import stored_location, stored_model, stored_run
from graftline.tasks.unchanged.places import ChangedError, Look, Noted, Place, UnsureError, still_there
from graftline.tasks.unchanged.surroundings import surroundings
from graftline.tasks.workspace import Workspace

Files = Mapping[Place, Mapping[str, Noted] | None]
Result = dict[str, JsonValue]

RECEIPT = ".receipt"


@dataclass(frozen=True)
class Receipt:
    """What a run would come to as long as nothing changes."""

    result: Result
    surroundings: Mapping[str, JsonValue]
    registry: dict[str, Any]
    """Plain values, as `registry_state` has them."""
    files: Files


def result_if_unchanged(workspace: Workspace, settings: Settings, *, full_check: bool = False) -> Result | None:
    """The result of a run with these settings, if one was finished and nothing that it rests on has changed since.

    Files count as unchanged that have the size, times and inode that they had; with `full_check` every byte is read.
    None where anything differs, is damaged or is not certain: then a run finds out.
    """
    began = time.monotonic()
    try:
        path = receipt_path(workspace, settings)
        kept = _kept(path)
        known = _receipt_in(path, kept.content)
        if known.surroundings != surroundings(workspace):
            return None
        files = _still(workspace.root, known.files, read_all=full_check)
        model, there = settings.registry.model, known.registry
        if there != registry_state(workspace, model, there["runs"], there["locations"]):
            return None
        _require_those_elsewhere(workspace, model, there["locations"])
        if files != known.files:
            with suppress(OSError):  # it only spares the next one some reading
                write_receipt(path, replace(known, files=files), over=kept.mark)
    except (ChangedError, UnsureError, GraftlineError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return {**known.result, "seconds": round(time.monotonic() - began, 1)}


def receipt_path(workspace: Workspace, settings: Settings) -> Path:
    """One receipt for each choice of settings, however the file is written that says so."""
    return workspace.artifacts / "runs" / f"{json_sha256(settings.model_dump(mode='json'))[:32]}{RECEIPT}"


def registry_state(
    workspace: Workspace, model: str, run_ids: Collection[str], numbers: Collection[str]
) -> dict[str, Any]:
    """Everything in the registry that a finished run looks at, and where these versions lie.

    Raises: UnsureError if that is not to be had quickly.
    """
    uri = tracking_uri(workspace)
    stored = stored_model(uri, model) if NAME.fullmatch(model) else None
    runs = {run_id: stored_run(uri, run_id) for run_id in sorted(run_ids)} if stored else {}
    locations = {number: stored_location(uri, model, int(number)) for number in sorted(numbers)} if stored else {}
    if stored is None or None in (*runs.values(), *locations.values()):
        raise UnsureError(f"{model}: not to be read without MLflow")
    versions = {str(number): asdict(version) for number, version in stored.versions.items()}
    found = {"aliases": {**stored.aliases}, "tags": {**stored.tags}, "versions": versions}
    if shared_state() is not None:  # no file of this machine tells whether it is whole
        found["records"] = {str(one.number): one.sha256 for one in read_history(workspace, model)}
    return {**found, "runs": runs, "locations": locations}


def model_place(workspace: Workspace, location: str) -> Place | None:
    """The files of a version at this address; None where they do not lie on a disk of this machine."""
    address = urlsplit(location)
    if address.scheme not in ("", "file") or address.netloc:
        return None
    path = Path(unquote(address.path) if address.scheme else location)
    inside = path.is_relative_to(workspace.root)
    return Place(str(path.relative_to(workspace.root) if inside else path), without=(ADDED_BY_MLFLOW, COMPILED))


def _require_those_elsewhere(workspace: Workspace, model: str, locations: Mapping[str, str]) -> None:
    """Have the files of versions compared with their records that no look at this machine's disk tells of."""
    for number, location in locations.items():
        if model_place(workspace, location) is None:
            from graftline.tasks.registry.manifest import require_as_judged  # which takes its time, as signatures do

            connect(workspace)
            require_as_judged(workspace, model, int(number))


def history_place(workspace: Workspace, model: str) -> Place:
    """The records of a model; the locks and the note beside them say nothing."""
    folder = history_folder(workspace, model).relative_to(workspace.root)
    return Place(folder.as_posix(), without=(".lock", REPLACING, NOTE))


def write_receipt(path: Path, receipt: Receipt, *, over: str | None = None) -> None:
    """Write it with a digest over it, so that a damaged one is none; only in the place of the one `over` if named."""
    files = [[place.path, list(place.without), _plain(found)] for place, found in receipt.files.items()]
    values = {"result": receipt.result, "surroundings": {**receipt.surroundings}, "registry": receipt.registry}
    content = json.dumps({**values, "files": files}, ensure_ascii=False).encode()
    Folder(path.parent).replace(path.name, sha256(content).hexdigest().encode() + b"\n" + content, known=over)


def read_receipt(path: Path) -> Receipt:
    """Raises: OSError if there is none; ValueError, KeyError or TypeError if it is damaged."""
    return _receipt_in(path, _kept(path).content)


def _kept(path: Path) -> Kept:
    if (kept := Folder(path.parent).read(path.name)) is None:
        raise FileNotFoundError(path)
    return kept


def _receipt_in(path: Path, kept: bytes) -> Receipt:
    digest, _, content = kept.partition(b"\n")
    if sha256(content).hexdigest().encode() != digest:
        raise ValueError(f"{path}: damaged")
    values = json.loads(content)
    files = {Place(where, tuple(without)): _parsed(found) for where, without, found in values["files"]}
    return Receipt(values["result"], values["surroundings"], values["registry"], files)


def _still(root: Path, files: Files, *, read_all: bool) -> Files:
    moment_ns = time.time_ns()
    return {place: still_there(root, place, known, moment_ns, read_all=read_all) for place, known in files.items()}


def _plain(found: Mapping[str, Noted] | None) -> dict[str, list[Any]] | None:
    return None if found is None else {name: [one.sha256, *(one.look or [])] for name, one in found.items()}


def _parsed(found: dict[str, list[Any]] | None) -> dict[str, Noted] | None:
    if found is None:
        return None
    return {name: Noted(digest, Look(*look) if look else None) for name, (digest, *look) in found.items()}
