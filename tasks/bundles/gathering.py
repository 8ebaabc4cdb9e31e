"""What a bundle is made of: read beside the registry, and compared with the version's record before it is signed."""

import importlib.metadata
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from graftline.answers.tasks import TASKS
from graftline.digests import canonical_json
from graftline.errors import RegistryRefusedError, SettingsError
from graftline.settings import Task
from graftline.signatures import Signer
from graftline.tasks.bundles.form import Made, Stated, Statement, Verdict, subjects_of
from graftline.tasks.bundles.grounds import EVALUATION, PROVENANCE, REPORT, Numbers, read_part
from graftline.tasks.registry.binding import TAG, names_of_files
from graftline.tasks.registry.history import who
from graftline.tasks.registry.judged_versions import compare_versions
from graftline.tasks.registry.manifest import judged_files
from graftline.tasks.registry.promotion import repair
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.signing import KEY_FILE, signer_for
from graftline.tasks.registry.versions import Registered, get_version, open_model, verdict_of
from graftline.tasks.scratch import scratch_folder
from graftline.tasks.tracking.server import client
from graftline.tasks.workspace import Workspace
from graftline.wording import ERROR_CHARACTERS, shortened

# As a run logs how many rows there were: in front of the names of settings, and in the profile of its data.
ROWS, SIDES = "rows.", ("train", "validation", "test")


def gathered(workspace: Workspace, model: str, number: int) -> tuple[Statement, Signer, list[Record]]:
    """The statement about a version, who signs it, and the history that stands in it.

    Raises: RegistryRefusedError if the version was never judged, or the history, its files, its tags or what lies
    with its run are not those that its record holds; SettingsError if there is no key to sign with.
    """
    open_model(workspace, model)
    records = repair(workspace, model)
    signer = signer_for(workspace, model, records)
    if signer is None:
        raise SettingsError(
            f"{model} version {number}: a bundle is signed, but no key is named; make one with `openssl genpkey"
            f" -algorithm ed25519 -out KEY.pem`, chmod 600 it, and name its file in {KEY_FILE}"
        )
    version = get_version(model, number)
    record, files = _judged(workspace, model, records, version)
    _require_as_recorded(workspace, model, records, version)
    texts = _texts(workspace, model, record, str(version.run_id))
    verdict = Verdict(
        model=model,
        version=number,
        record=record.number,
        made=_made(),
        tags=_bound_tags(model, record, version),
        stated=Stated(
            main_score=_main_score(texts[EVALUATION]),
            rows=_rows(str(version.run_id)),
            provenance=texts.pop(PROVENANCE),
        ),
        files=texts,
        history=tuple(canonical_json(one.plain()).decode() for one in records),
    )
    return Statement(subject=subjects_of(files), predicate=verdict), signer, records


def _judged(
    workspace: Workspace, model: str, records: list[Record], version: Registered
) -> tuple[Record, Mapping[str, str]]:
    """The record of the verdict on a version, and the files that were judged."""
    record = verdict_of(records, version)
    files = judged_files(workspace, model, int(version.version))
    if record is None or record.bound is None or files is None:
        raise RegistryRefusedError(
            f"{model} version {version.version}: this folder's history holds no verdict that names its files, which one"
            " of this release does; bundle it where it was judged, or train it again with `graftline adapt`"
        )
    return record, files


def _made() -> Made:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Made(when=now, who=who(), graftline=importlib.metadata.version("graftline"))


def _require_as_recorded(workspace: Workspace, model: str, records: list[Record], version: Registered) -> None:
    number = int(version.version)
    about = [record for record in records if record.version == number]
    findings = compare_versions(workspace, model, about, {number: version}).findings
    if findings:
        raise RegistryRefusedError(
            f"{model} version {number}: is not what was judged, so nothing was bundled, {len(findings)} findings; find"
            f" out who did that (`graftline history {model} --verify`), and restore it from a backup",
            [str(finding) for finding in findings],
        )


def _texts(workspace: Workspace, model: str, record: Record, run_id: str) -> dict[str, str]:
    """What lies with the version's run, but for the report, which is large and says the same in pictures."""
    from mlflow.exceptions import MlflowException

    names = [name for name in (*names_of_files(record.bound), PROVENANCE) if name != REPORT]
    with scratch_folder(workspace) as folder:
        try:
            return {
                name: Path(client().download_artifacts(run_id, name, str(folder))).read_bytes().decode()
                for name in names
            }
        except (MlflowException, OSError, UnicodeDecodeError) as error:
            said = shortened(" ".join(str(error).split()), ERROR_CHARACTERS)
            raise RegistryRefusedError(
                f"{model} version {record.version}: what lies with its run {run_id} in MLflow cannot be read"
                f" ({said}); restore it from a backup"
            ) from None


def _bound_tags(model: str, record: Record, version: Registered) -> dict[str, str]:
    names = [name.removeprefix(TAG) for name in record.bound or () if name.startswith(TAG)]
    if missing := [name for name in names if name not in version.tags]:
        raise RegistryRefusedError(
            f"{model} version {record.version}: lacks the tags {', '.join(missing)}, as where a run was killed; run"
            " `graftline adapt` once more, which finishes it, then bundle it"
        )
    return {name: version.tags[name] for name in sorted(names)}


def _main_score(evaluation: str) -> str:
    return TASKS[cast("Task", read_part(Numbers, EVALUATION, evaluation).task)].scores.scoring.primary


def _rows(run_id: str) -> dict[str, int]:
    run = client().get_run(run_id)
    logged = {name.removeprefix(ROWS): value for name, value in run.data.params.items() if name.startswith(ROWS)}
    rows = {name: int(value) for name, value in logged.items() if value.isdecimal()}
    for used in run.inputs.dataset_inputs if run.inputs else ():
        profile = json.loads(used.dataset.profile or "{}")
        rows |= {side: profile[side] for side in SIDES if side in profile}
    return rows
