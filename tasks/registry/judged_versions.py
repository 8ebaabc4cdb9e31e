"""Whether each judged version and what stands beside it in the registry still is what its record says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from graftline.digests import file_sha256
from graftline.tasks.registry.binding import FILE, tag_faults
from graftline.tasks.registry.findings import Finding
from graftline.tasks.registry.history import is_carried_out
from graftline.tasks.registry.manifest import opened
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.versions import Registered, verdict_of
from graftline.tasks.scratch import scratch_folder
from graftline.tasks.tracking.model_files import ChangedFilesError, faults_in
from graftline.tasks.tracking.server import client
from graftline.tasks.workspace import Workspace


@dataclass(frozen=True)
class Compared:
    """What was compared with the records, and where they differ."""

    versions: int
    """Those whose files and surroundings the records hold."""
    files: int
    """Of these versions."""
    tags: int
    beside: int
    """Files of their runs: policy, evaluation, verdict, report."""
    without: tuple[int, ...]
    """The versions whose records hold no files: an earlier release judged them."""
    findings: tuple[Finding, ...]


def compare_versions(
    workspace: Workspace, model: str, records: Sequence[Record], versions: Mapping[int, Registered]
) -> Compared:
    """Compare every version that was judged; nothing of it is loaded."""
    judged = [_Judged(workspace, model, record, version) for record, version in _present(records, versions)]
    bound = [one for one in judged if one.record.files is not None]
    return Compared(
        versions=len(bound),
        files=sum(len(one.record.files or {}) for one in bound),
        tags=sum(len(one.record.bound or {}) - len(one.beside) for one in bound),
        beside=sum(len(one.beside) for one in bound),
        without=tuple(one.record.version for one in judged if one.record.files is None),
        findings=(*_deleted(records, versions), *(fault for one in judged for fault in one.faults())),
    )


def _present(records: Sequence[Record], versions: Mapping[int, Registered]) -> Iterator[tuple[Record, Registered]]:
    for _, version in sorted(versions.items()):
        if record := verdict_of(records, version):
            yield record, version


def _deleted(records: Sequence[Record], versions: Mapping[int, Registered]) -> Iterator[Finding]:
    """The versions that the registry lost, but for those that a record removed."""
    newest = {record.version: record for record in records if record.run_id is not None}
    for number, record in sorted(newest.items()):
        if number not in versions and record.action != "remove":
            what = f"is about version {number}, which the registry has no more: it was deleted outside of Graftline"
            yield Finding(record.number, what)


@dataclass(frozen=True)
class _Judged:
    workspace: Workspace
    model: str
    record: Record
    """Of its verdict."""
    version: Registered

    @cached_property
    def beside(self) -> dict[str, str]:
        """The digests of files of its run, by their names there."""
        bound = self.record.bound or {}
        return {name.removeprefix(FILE): digest for name, digest in bound.items() if name.startswith(FILE)}

    def faults(self) -> Iterator[Finding]:
        about = f"is about version {self.record.version}, "
        for fault in (*self._files(), *self._tags(), *self._beside()):
            yield Finding(self.record.number, about + fault)

    def _files(self) -> list[str]:
        if self.record.files is None:
            return []
        try:
            with opened(self.workspace, self.model, self.record.version) as folder:
                return [f"whose file {fault}" for fault in faults_in(folder, self.record.files)]
        except ChangedFilesError as error:
            return [f"of which the registry says: {error}"]

    def _tags(self) -> list[str]:
        carried_out = is_carried_out(self.workspace, self.model, self.record)
        return [f"whose tag {fault}" for fault in tag_faults(self.record, self.version.tags, carried_out=carried_out)]

    def _beside(self) -> list[str]:
        if not self.beside:
            return []
        with scratch_folder(self.workspace) as folder:
            found = {name: _digest(str(self.version.run_id), name, folder) for name in sorted(self.beside)}
        return [
            f"beside which {name} {'is missing' if digest is None else 'was changed'} in MLflow"
            for name, digest in found.items()
            if digest != self.beside[name]
        ]


def _digest(run_id: str, name: str, folder: Path) -> str | None:
    """SHA-256 of a file of a run; None where it cannot be had."""
    from mlflow.exceptions import MlflowException

    try:
        return file_sha256(Path(client().download_artifacts(run_id, name, str(folder))))
    except (MlflowException, OSError):
        return None
