"""Proving that a model's history is whole: what was edited, removed, reordered, added or moved outside of Graftline."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graftline.tasks.registry.findings import Finding
from graftline.tasks.registry.history import (
    NO_PLAIN_FILE,
    copied_from,
    deciding,
    history_room,
    is_carried_out,
    marks,
    newest_move,
    place_of,
    record_name,
    record_names,
)
from graftline.tasks.registry.judged_versions import Compared, compare_versions
from graftline.tasks.registry.noted import Versions, note_faults
from graftline.tasks.registry.records import WITH_RUN, Record, parse_record
from graftline.tasks.registry.signing import read_signing
from graftline.tasks.registry.versions import (
    WEIGHTS,
    champion_of,
    is_of,
    judged_run,
    notes_of,
    open_model,
    shown,
    versions_of,
)
from graftline.tasks.registry.witnessing import (
    Witnessed,
    asking,
    give,
    kept_by_a_colleague,
    left_out,
    summary_of,
    witness_faults,
)
from graftline.tasks.state.room import NoPlainFileError, Reader
from graftline.tasks.workspace import Workspace


@dataclass(frozen=True)
class Proof:
    """The records that were checked, and the findings."""

    records: int
    signed_by: Mapping[str, int]
    """How many records were signed with each public key."""
    trusted_in: str | None
    """Where the keys are named that count, if any are."""
    required_outside: bool
    """Whether a file outside of the project says that records must be signed."""
    compared: Compared
    witnessed: tuple[Witnessed, ...]
    left_out: tuple[str, ...]
    """The witnesses that the project names and the file outside of it does not: they were not asked."""
    findings: tuple[Finding, ...]
    unfinished: bool
    """Whether the newest record is still to be carried out: the next command does that."""

    @property
    def signed(self) -> int:
        return sum(self.signed_by.values())


def verify(workspace: Workspace, model: str, receipts: Path | None = None) -> Proof:
    """Look at every record, at what registry and witnesses know of them, at aliases, and at every file of each version.

    `receipts` is a file that a colleague kept. Changes nothing but the witnesses: what they lack of a history without
    findings is given to them.
    Raises: RegistryRefusedError if there is no such model; SettingsError if `mlflow/signing.yaml`, what names the
    witnesses, or the file of receipts is wrong.
    """
    kept = [kept_by_a_colleague(receipts, model)] if receipts else []
    open_model(workspace, model)
    signing = read_signing(workspace)
    # Digesting every file may take minutes, for which nobody who decides is to wait.
    before = [record for record in _read(workspace, model)[0] if record is not None]
    compared = compare_versions(workspace, model, before, versions_of(model))
    with deciding(workspace, model):
        read, findings = _read(workspace, model)
        records = [record for record in read if record is not None]
        versions, notes, champion = versions_of(model), notes_of(model), champion_of(model)
        if not findings:
            findings += chain_faults(records)
        for number, record in enumerate(records):
            if fault := signing.fault(model, record, records[:number]):
                findings.append(Finding(record.number, fault))
        findings += _new(note_faults(read, notes, versions), findings)
        findings += champion_faults(records)
        findings += _version_faults(records, versions)
        newest = newest_move(records)
        unfinished = newest is not None and not is_carried_out(workspace, model, newest)
        findings += _alias_faults(newest, champion, unfinished=unfinished)
        findings += [Finding(None, fault) for fault in signing.added_faults()]
        if compared.findings or records != before:  # which may come from what was decided meanwhile
            compared = compare_versions(workspace, model, records, versions)
        findings += compared.findings
        with asking(workspace, model) as asked:
            digests = [record.sha256 if record else None for record in read]
            findings += witness_faults(workspace, model, [*asked, *kept], digests)
            witnessed = (
                [summary_of(model, one, records) for one in asked]
                if findings
                else give(workspace, model, asked, records)
            )
    witnessed += [summary_of(model, one, records) for one in kept]
    keys = Counter(str(record.public_key) for record in records if record.signature is not None)
    return Proof(
        len(records),
        dict(keys),
        signing.trusted_in,
        model in signing.required_outside,
        compared,
        tuple(witnessed),
        tuple(left_out(workspace, model)),
        tuple(findings),
        unfinished and not findings,
    )


def _read(workspace: Workspace, model: str) -> tuple[list[Record | None], list[Finding]]:
    """The records as they lie there, None for one that is none, and what is wrong with each file by itself."""
    names, known = record_names(workspace, model), marks(workspace, model)
    stems = [name.removesuffix(".json") for name in names]
    numbers = [int(stem) for stem in stems if stem.isdecimal()]
    last = max([*numbers, *known], default=0)
    place = place_of(workspace, model)
    findings = [
        Finding(None, f"{name} in {place} is no record's name: it was added outside of Graftline")
        for name, stem in zip(names, stems, strict=True)
        if not stem.isdecimal() or name != record_name(int(stem))
    ]
    files = history_room(workspace, model).read_ahead([record_name(number) for number in range(1, last + 1)])
    records: list[Record | None] = []
    for number in range(1, last + 1):
        record, fault = _read_one(model, number, known, files)
        records.append(record)
        if fault:
            findings.append(Finding(number, fault))
    # What is missing at the end counts as missing there.
    while records and record_name(len(records)) not in names:
        records.pop()
    return records, findings


def _read_one(model: str, number: int, known: Mapping[int, str], files: Reader) -> tuple[Record | None, str | None]:
    try:
        kept = files.read(record_name(number))
        if kept is None:
            return None, "was removed"
        record = parse_record(kept.content)
    except NoPlainFileError:
        return None, NO_PLAIN_FILE
    except ValueError:
        return None, "was edited: its file holds no record"
    if record.number != number:
        return record, f"is in the place of another: its file holds record {record.number}; they were reordered"
    if record.content != kept.content or known.get(number, record.sha256) != record.sha256:
        return record, "was edited"
    return record, copied_from(record, model)


def chain_faults(records: list[Record]) -> list[Finding]:
    """Where a record does not name the one before it; which of the two was changed the digests alone cannot tell."""
    findings = []
    before: Record | None = None
    for record in records:
        if record.previous_sha256 != (before.sha256 if before else None):
            what = (
                f"does not follow on record {before.number}" if before else "names a record before it, but is the first"
            )
            findings.append(Finding(record.number, f"{what}: one was edited, removed, reordered or added"))
        elif before and record.form < before.form:
            findings.append(Finding(record.number, "has an earlier form than the one before: it was added or replaced"))
        before = record
    return findings


def champion_faults(records: list[Record]) -> list[Finding]:
    """Where the champion was another than the record before had left."""
    findings = []
    champion: int | None = None
    for record in records:
        if record.champion_before != champion:
            what = (
                f"found {shown(record.champion_before)} as champion where the records before had left {shown(champion)}"
            )
            findings.append(Finding(record.number, f"{what}: the alias was moved outside of Graftline before it"))
        champion = record.champion_after
    return findings


def _version_faults(records: list[Record], versions: Versions) -> list[Finding]:
    """Records about a version that the registry has under this number, but with another run or other weights."""
    findings = []
    for record in records:
        version = versions.get(record.version)
        if version is None or record.form < WITH_RUN:
            continue
        if not is_of(record, version):
            what = f"is about version {record.version} of run {record.run_id}, which in the registry is of run"
            findings.append(Finding(record.number, f"{what} {judged_run(version)}: the registry was replaced"))
        elif record.model_sha256 != version.tags.get(WEIGHTS):
            what = f"is about version {record.version} with weights {record.model_sha256}, for which the registry says"
            findings.append(Finding(record.number, f"{what} {version.tags.get(WEIGHTS)}: it was changed there"))
    return findings


def _alias_faults(newest: Record | None, champion: int | None, *, unfinished: bool) -> list[Finding]:
    expected = newest.champion_after if newest else None
    if champion == expected or (newest and unfinished and champion == newest.champion_before):
        return []
    by = f"record {newest.number}" if newest else "the history"
    what = f"the alias champion is at {shown(champion)}, but by {by} at {shown(expected)}"
    return [Finding(None, f"{what}: it was moved outside of Graftline")]


def _new(findings: list[Finding], known: list[Finding]) -> list[Finding]:
    """Those about records of which nothing was said yet."""
    said = {finding.number for finding in known if finding.number is not None}
    return [finding for finding in findings if finding.number not in said]
