"""Decisions about a registered model: who, when, from, to, why; and whether that was tampered with."""

from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue

from graftline.errors import RegistryRefusedError
from graftline.tasks.registry import promotion
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.signing import HERE, TRUSTED_KEYS
from graftline.tasks.registry.verification import Proof, verify
from graftline.tasks.workspace import Workspace

PACKED = ("names", "names_in", "gains")


def history(name: str) -> dict[str, JsonValue]:
    """The records of model `name`, oldest first, and its present champion.

    A plain function: it only reads, and a flow would start a server for it.
    """
    records, champion = promotion.history(Workspace(Path.cwd()), name)
    present = f"champion: {'version ' + str(champion) if champion else 'none'}"
    return {
        "model": name,
        "champion": champion,
        "records": [_shown(record) for record in records],
        "summary": "\n".join([*map(_line, records), present]),
    }


def verified_history(name: str) -> dict[str, JsonValue]:
    """How many records of model `name` were checked.

    Raises: RegistryRefusedError naming every record and alias that is not as Graftline left it.
    """
    proof = verify(Workspace(Path.cwd()), name)
    if proof.findings:
        raise RegistryRefusedError(
            f"{name}: its history was changed outside of Graftline, {len(proof.findings)} findings in"
            f" {proof.records} records; find out who did that, and restore mlflow/history/{name} and the registry from"
            " a backup",
            [str(finding) for finding in proof.findings],
        )
    signed = f", {proof.signed} of them signed" if proof.signed else ""
    notes, compared = _notes(proof), proof.compared
    unfinished = "; the newest is still to be carried out, which the next command does" if proof.unfinished else ""
    return {
        "model": name,
        "records": proof.records,
        "signed": proof.signed,
        "signed_by": {**proof.signed_by},
        "compared": {
            "versions": compared.versions,
            "files": compared.files,
            "tags": compared.tags,
            "files_beside": compared.beside,
            "versions_without_files": list(compared.without),
        },
        "summary": "\n".join(
            [
                *notes,
                f"{name}: {proof.records} records checked{signed}: unbroken, and the champion is where the newest puts"
                f" it{unfinished}",
            ]
        ),
    }


def _notes(proof: Proof) -> list[str]:
    """What was compared, by which keys records are signed, and what is not known."""
    compared = proof.compared
    notes = [
        f"compared with the records: {compared.files} files, {compared.tags} tags and {compared.beside} files of the"
        f" runs of {compared.versions} versions"
    ]
    notes += [f"signed with {key}: {count} records" for key, count in sorted(proof.signed_by.items())]
    if proof.signed_by and proof.trusted_in is None:
        notes.append("no trusted keys are named, so any key counts: name yours in a file outside, see SECURITY.md")
    elif proof.trusted_in == HERE:
        notes.append(
            f"the trusted keys stand in {HERE}, where whoever writes records may add one: keep them in a file outside"
            f" of the project that {TRUSTED_KEYS} names"
        )
    if compared.without:
        numbers = ", ".join(map(str, compared.without))
        notes.append(f"an earlier release judged versions {numbers}: their records hold no files to compare")
    return notes


def _shown(record: Record) -> JsonValue:
    """A record for a reader, who has no use for what its look packed of each row."""
    plain: dict[str, JsonValue] = asdict(record)
    if record.look:
        plain["look"] = {name: value for name, value in asdict(record.look).items() if name not in PACKED}
    return plain


def _line(record: Record) -> str:
    return (
        f"{record.number:>4}  {record.when}  {record.who}  {record.action}"
        f"{' ' + record.verdict if record.verdict else ''}  version {record.version}"
        f"  champion {record.champion_before or 'none'} -> {record.champion_after or 'none'}  {record.why}"
    )
