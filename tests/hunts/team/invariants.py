"""What must hold after each kill: one function for each invariant, I1 to I10.

Each returns the faults that it finds. They look past the verbs at what lies there: the alias in MLflow, records and
files in the bucket, files in the machines' folders, states in both servers, logs.
"""

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow import MlflowClient
from mlflow.entities import Run
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, LogFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import LogSort
from pyarrow import parquet

from graftline.digests import file_sha256
from graftline.files import files_below
from graftline.flows.servers.lost_runs import UNDER_WAY
from graftline.flows.servers.reasons import LOST_AFTER
from graftline.tasks.data.accepted_rows import ACCEPTED
from graftline.tasks.registry.history import newest_move, read_history
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.verification import chain_faults, champion_faults, verify
from graftline.tasks.registry.versions import RUN_KEY, champion_of, versions_of
from graftline.tasks.state.folders import files_in
from graftline.tasks.state.shared import STATE
from graftline.tasks.step_folders import MANIFEST, is_intact
from graftline.tasks.steps.validate_data import STEP
from graftline.tasks.steps.validation_files import QUARANTINE
from graftline.tasks.workspace import Workspace
from tests.support.shell import own_code
from tests.support.tiny_project import QUARANTINED, ROWS, graftline

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET, STATE_PREFIX, TRACKED_PREFIX, DATA_PREFIX = "graftline", "state/", "mlflow/", "remote/"
# Three missed heartbeats, and a minute in which the rule and a worker do the rest.
END_SECONDS = LOST_AFTER + 60.0
MOST = 1000
DIGESTS = ("weights_sha256", "predictions_sha256")
LOGS_AT_ONCE = 200
# By what a version becomes champion without a verdict of its own beside it.
MOVED_BY_PERSON = ("promote", "rollback")
BY_HAND = "moved outside of Graftline"


@dataclass
class Looks:
    """What is known from earlier looks, and where to look."""

    workspace: Workspace
    """A clone of its own, that runs nothing."""
    projects: Sequence[Path]
    """Those of the machines."""
    logs: Path
    homes: Sequence[Path]
    secrets: Sequence[str]
    bucket: "S3Client"
    models: list[str] = field(default_factory=list)
    """Those that had a champion once."""
    killed: dict[int, float] = field(default_factory=dict)
    """When the newest start of a training, by its seed, was killed; clock of the wall, in seconds."""
    sources: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 of objects of champions, by their keys."""
    seen: dict[str, object] = field(default_factory=dict)
    """What was looked at and has not changed since, by what it is."""

    def is_new(self, name: str, mark: object) -> bool:
        known = self.seen.get(name) == mark
        self.seen[name] = mark
        return not known


def a_champion_is_there_and_its_files_match(looks: Looks, model: str) -> list[str]:
    """I1: the alias in MLflow, and the digest of every file of that version against the record of its verdict."""
    champion = champion_of(model)
    if champion is None:
        return [f"I1 {model}: has no champion any more"] if model in looks.models else []
    if model not in looks.models:
        looks.models.append(model)
    address = MlflowClient().get_model_version_download_uri(model, str(champion))
    prefix = f"{TRACKED_PREFIX}{address.removeprefix('mlflow-artifacts:/')}/"
    found = {}
    for key, mark in _objects(looks, prefix):
        if looks.is_new(f"digest of {key}", mark):
            looks.digests[key] = _sha256_in_bucket(looks, key)
        found[key.removeprefix(prefix)] = looks.digests[key]
    records = reversed(read_history(looks.workspace, model))
    judged = next((dict(one.files) for one in records if one.version == champion and one.files is not None), None)
    if judged is None:
        return [f"I1 {model}: no record holds the files of champion {champion}"]
    names = sorted(name for name in {*judged, *found} if judged.get(name) != found.get(name))
    return [f"I1 {model} version {champion}: {name} is not as judged" for name in names]


def a_record_made_it_champion(looks: Looks, model: str) -> list[str]:
    """I2: the newest record that moves the alias, or while that is not carried out the one before; and its verdict."""
    champion, records = champion_of(model), read_history(looks.workspace, model)
    newest = newest_move(records)
    if newest is None or champion is None:
        return [] if champion is None else [f"I2 {model}: champion {champion} has no record"]
    if champion not in (newest.champion_after, newest.champion_before):
        return [f"I2 {model}: champion {champion}, but record {newest.number} says {newest.champion_after}"]
    judged = [one for one in records if one.version == champion and _lets_pass(one)]
    return [] if judged else [f"I2 {model}: champion {champion} has neither a verdict PROMOTE nor an override"]


def _lets_pass(record: Record) -> bool:
    return record.action == "override" or (record.action not in MOVED_BY_PERSON and record.verdict == "PROMOTE")


def a_run_key_has_one_version(looks: Looks, model: str) -> list[str]:
    """I3: the tag of the run key on all versions of the model in MLflow, and on all runs."""
    versions = Counter(version.tags.get(RUN_KEY) for version in versions_of(model).values())
    runs = Counter(run.data.tags.get(RUN_KEY) for run in _runs())
    return [
        f"I3 {model}: {count} {what} of run key {key}"
        for what, counted in (("versions", versions), ("runs", runs))
        for key, count in counted.items()
        if key and count > 1
    ]


def every_killed_run_has_ended(looks: Looks, running: Sequence[int] = ()) -> list[str]:
    """I4: no run in Prefect or MLflow is under way whose newest process was killed longer ago than the bound.

    `running` are the seeds of trainings that go on.
    """
    faults = []
    for run in _under_way():
        seed = _seed(run)
        overdue = _overdue(looks, seed, run.start_time.timestamp() if run.start_time else None, running)
        faults += [f"I4 Prefect: {run.name} is {run.state_name} {overdue:.0f} s after its kill"] if overdue else []
    for tracked in _runs("attributes.status = 'RUNNING'"):
        seed = int(tracked.data.params.get("adaptation.seed", -1))
        overdue = _overdue(looks, seed, tracked.info.start_time / 1000, running)
        faults += [f"I4 MLflow: {tracked.info.run_name} is RUNNING {overdue:.0f} s after its kill"] if overdue else []
    return faults


def _overdue(looks: Looks, seed: int, began: float | None, running: Sequence[int]) -> float | None:
    """For how many seconds a killed run has been said to go on, if that is too long."""
    killed = looks.killed.get(seed)
    if killed is None or seed in running or began is None or began > killed:
        return None
    since = time.time() - killed
    return since if since > END_SECONDS else None


def alias_and_history_agree(looks: Looks, model: str, said: str) -> list[str]:
    """I5, after one repair that said this: the newest move is where the alias is, and nobody is told of a hand."""
    champion, records = champion_of(model), read_history(looks.workspace, model)
    newest = newest_move(records)
    faults = [f"I5 {model}: {finding}" for finding in (*chain_faults(records), *champion_faults(records))]
    if newest is not None and newest.champion_after != champion:
        faults.append(f"I5 {model}: the alias is at {champion}, record {newest.number} at {newest.champion_after}")
    return [*faults, f"I5 {model}: {said}"] if BY_HAND in said else faults


def the_result_is_the_same(looks: Looks, told: Mapping[str, object], seed: int) -> list[str]:
    """I6: the digests of a training that was killed and gone on with, against those of one with everything its own."""
    alone = looks.workspace.root.with_name(f"alone_{seed}")
    shutil.copytree(looks.workspace.root, alone)
    own = {STATE: "", "MLFLOW_TRACKING_URI": ""}
    done = graftline(alone, "adapt", "--json", "--set", f"adaptation.seed={seed}", **own_code(), **own)
    if done.returncode:
        return [f"I6 seed {seed}: {done.stderr}"]
    undisturbed = json.loads(done.stdout.splitlines()[-1])
    differ = [name for name in DIGESTS if told[name] != undisturbed[name]]
    return [f"I6 seed {seed}: another {name} than undisturbed" for name in differ]


def no_file_is_partial(looks: Looks) -> list[str]:
    """I7: finished step folders of each machine against their manifests; files in the bucket against their names."""
    faults = []
    for project in looks.projects:
        for manifest in project.glob(f"artifacts/*/[0-9a-f]*/{MANIFEST}"):
            folder = manifest.parent
            if looks.is_new(str(folder), _marks(folder)) and not is_intact(folder) and folder.exists():
                faults.append(f"I7 {folder}: differs from its manifest")
    kept = dict(_objects(looks, f"{STATE_PREFIX}files/"))
    for key, mark in kept.items():
        if looks.is_new(key, mark) and _sha256_in_bucket(looks, key) != key.rpartition("/")[2]:
            faults.append(f"I7 {key}: has another digest than its name")
    for key, mark in _objects(looks, f"{STATE_PREFIX}steps/"):
        if not key.endswith(".json") or not looks.is_new(key, mark):
            continue
        listed = files_in(looks.bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        missing = [name for name, sha256 in (listed or {}).items() if f"{STATE_PREFIX}files/{sha256}" not in kept]
        faults += [f"I7 {key}: is no list"] if listed is None else []
        faults += [f"I7 {key}: names {', '.join(missing)}, which are not there"] if missing else []
    return faults


def data_and_remote_are_untouched(looks: Looks) -> list[str]:
    """I8: the digest of every file of `data/` and of its pointer, and the list of the remote's objects with ETags."""
    now = {}
    for project in looks.projects:
        for path in (*files_below(project / "data"), project / "data.dvc"):
            now[str(path)] = file_sha256(path)
    now |= {key: str(mark) for key, mark in _objects(looks, DATA_PREFIX)}
    looks.sources = looks.sources or now
    changed = {name for name in {*now, *looks.sources} if now.get(name) != looks.sources.get(name)}
    return [f"I8 {name}: was changed" for name in sorted(changed)]


def rows_in_are_rows_out(looks: Looks) -> list[str]:
    """I9: accepted rows and quarantined ones of each finished validation, each of the latter with a reason."""
    faults = []
    for project in looks.projects:
        for folder in project.glob(f"artifacts/{STEP}/[0-9a-f]*"):
            if not (folder / MANIFEST).exists() or not looks.is_new(f"rows of {folder}", folder.stat().st_ino):
                continue
            accepted = parquet.ParquetFile(folder / ACCEPTED).metadata.num_rows
            quarantined = [json.loads(line) for line in (folder / QUARANTINE).read_text().splitlines()]
            if (accepted, len(quarantined)) != (ROWS, QUARANTINED) or not all(row["reasons"] for row in quarantined):
                faults.append(f"I9 {folder}: {accepted} accepted and {len(quarantined)} quarantined of {ROWS + 1}")
    return faults


def no_secret_is_told(looks: Looks) -> list[str]:
    """I10: logs of servers and commands, files of the machines, the bucket, MLflow's runs, Prefect's logs and runs."""
    faults = []
    for path in _written(looks):
        content = path.read_bytes()
        faults += [f"I10 {path}: holds a password" for secret in looks.secrets if secret.encode() in content]
    for run in _runs():
        told = str(run.to_dictionary())
        faults += [f"I10 MLflow's run {run.info.run_id}" for secret in looks.secrets if secret in told]
    faults += [f"I10 Prefect's log: {line}" for line in _logged(looks) if any(one in line for one in looks.secrets)]
    for key, mark in _objects(looks, ""):
        if looks.is_new(f"secrets in {key}", mark):
            content = looks.bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            faults += [f"I10 {key}: holds a password" for secret in looks.secrets if secret.encode() in content]
    return faults


def everything_is_proven(looks: Looks, model: str) -> list[str]:
    """What `history --verify` looks at: every record, tag and file of every version."""
    return [f"{model}: {finding}" for finding in verify(looks.workspace, model).findings]


def after_a_kill(looks: Looks, model: str, said: str, running: Sequence[int] = ()) -> list[str]:
    """All that can be looked at after each kill, once the repair has said this."""
    return [
        *a_champion_is_there_and_its_files_match(looks, model),
        *a_record_made_it_champion(looks, model),
        *a_run_key_has_one_version(looks, model),
        *every_killed_run_has_ended(looks, running),
        *alias_and_history_agree(looks, model, said),
        *no_file_is_partial(looks),
        *data_and_remote_are_untouched(looks),
        *rows_in_are_rows_out(looks),
        *no_secret_is_told(looks),
    ]


def _runs(wanted: str = "") -> list[Run]:
    client = MlflowClient()
    experiments = [one.experiment_id for one in client.search_experiments(max_results=MOST)]
    return list(client.search_runs(experiments, wanted, max_results=MOST)) if experiments else []


def _under_way() -> list[FlowRun]:
    wanted = FlowRunFilter.model_validate({"state": {"type": {"any_": UNDER_WAY}}})
    with get_client(sync_client=True) as client:
        return list(client.read_flow_runs(flow_run_filter=wanted, limit=LOGS_AT_ONCE))


def _seed(run: FlowRun) -> int:
    settings = run.parameters.get("settings")
    return int(settings["adaptation"]["seed"]) if isinstance(settings, Mapping) else -1


def _logged(looks: Looks) -> list[str]:
    """Prefect's lines since the last look."""
    after = looks.seen.get("Prefect's logs")
    wanted = LogFilter.model_validate({"timestamp": {"after_": after}} if after else {})
    lines = []
    with get_client(sync_client=True) as client:
        for offset in range(0, MOST, LOGS_AT_ONCE):
            logs = client.read_logs(wanted, limit=LOGS_AT_ONCE, offset=offset, sort=LogSort.TIMESTAMP_ASC)
            lines += [log.message for log in logs]
            if logs:
                looks.seen["Prefect's logs"] = logs[-1].timestamp
            if len(logs) < LOGS_AT_ONCE:
                break
    return lines


def _written(looks: Looks) -> Iterator[Path]:
    """The files of logs and machines that are new or have grown since the last look."""
    for folder in (looks.logs, *looks.homes, *looks.projects):
        for path in files_below(folder):
            status = path.stat() if path.exists() else None
            if status is not None and looks.is_new(f"in {path}", (status.st_size, status.st_mtime_ns)):
                yield path


def _marks(folder: Path) -> tuple[tuple[str, int, int], ...]:
    found = sorted(path for path in files_below(folder))
    return tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found)


def _objects(looks: Looks, prefix: str) -> Iterator[tuple[str, str]]:
    pages = looks.bucket.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    for page in pages:
        for one in page.get("Contents", []):
            yield one["Key"], one["ETag"]


def _sha256_in_bucket(looks: Looks, key: str) -> str:
    return hashlib.sha256(looks.bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest()
