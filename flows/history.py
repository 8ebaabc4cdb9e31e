"""Decisions about a registered model: who, when, from, to, why; and whether that was tampered with."""

from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue

from graftline.errors import RegistryRefusedError, ServerAwayError
from graftline.tasks.registry import promotion
from graftline.tasks.registry.history import place_of
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.signing import HERE, TRUSTED_KEYS
from graftline.tasks.registry.verification import Proof, verify
from graftline.tasks.registry.witnessing import Witnessed, keep_receipts
from graftline.tasks.workspace import Workspace

PACKED = ("names", "names_in", "gains")


def history(name: str, receipts: Path | None = None) -> dict[str, JsonValue]:
    """The records of model `name`, oldest first, and its present champion.

    `receipts` is a file for a colleague to keep, to which what is new is added.
    A plain function: it only reads, and a flow would start a server for it.
    Raises: RegistryRefusedError if the file holds receipts of another history.
    """
    records, champion = promotion.history(Workspace(Path.cwd()), name)
    kept = []
    if receipts:
        added = keep_receipts(receipts, name, records)
        kept.append(
            f"{receipts}: holds the receipts of all {len(records)} records, {added} of them new; keep it where whoever"
            f" writes here cannot, and compare: `graftline history {name} --verify --receipt FILE`"
        )
    present = f"champion: {'version ' + str(champion) if champion else 'none'}"
    return {
        "model": name,
        "champion": champion,
        "records": [_shown(record) for record in records],
        "summary": "\n".join([*map(_line, records), present, *kept]),
    }


def verified_history(name: str, receipts: Path | None = None) -> dict[str, JsonValue]:
    """How many records of model `name` were checked, also against a file of receipts that a colleague kept.

    Raises: RegistryRefusedError naming every record and alias that is not as Graftline left it; ServerAwayError if
    nothing was found, but a witness could not be asked.
    """
    proof = verify(Workspace(Path.cwd()), name, receipts)
    if proof.findings:
        raise RegistryRefusedError(
            f"{name}: its history was changed outside of Graftline, {len(proof.findings)} findings in"
            f" {proof.records} records; find out who did that, and restore"
            f" {place_of(Workspace(Path.cwd()), name)} and the registry from a backup",
            [str(finding) for finding in proof.findings],
        )
    if away := [one for one in proof.witnessed if not one.asked]:
        raise ServerAwayError(
            f"{name}: {proof.records} records checked, and nothing found; but these witnesses could not be asked"
            " whether some were cut off: try again once they can",
            [f"{one.where}: {one.why_not}" for one in away],
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
        "witnesses": [
            {"where": one.where, "records": one.records, "without": list(one.without)} for one in proof.witnessed
        ],
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
    elif proof.signed_by and not proof.required_outside:
        notes.append(
            f"the file that {TRUSTED_KEYS} names does not say from which record on there must be a signature, so"
            " whoever can write history and registry may take all of them away: add required_from"
        )
    for one in proof.witnessed:
        notes += _witness(one)
    notes += [
        f"{where}: was not asked, since the file that {TRUSTED_KEYS} names does not name it" for where in proof.left_out
    ]
    if compared.without:
        numbers = ", ".join(map(str, compared.without))
        notes.append(f"an earlier release judged versions {numbers}: their records hold no files to compare")
    return notes


def _witness(one: Witnessed) -> list[str]:
    """What one witness knows, and why that may be less than it should."""
    lines = [f"witnessed by {one.where}: {one.records} records"]
    if one.without:
        why = f" ({one.why_not})" if one.why_not else ""
        lines.append(f"not witnessed there: records {', '.join(map(str, one.without))}{why}")
    return lines + ([f"{one.where}: {one.weakness}"] if one.weakness else [])


def _shown(record: Record) -> JsonValue:
    """A record for a reader, who has no use for what its look packed of each row."""
    plain: dict[str, JsonValue] = asdict(record)
    if record.look:
        plain["look"] = {name: value for name, value in record.look.plain().items() if name not in PACKED}
    return plain


def _line(record: Record) -> str:
    return (
        f"{record.number:>4}  {record.when}  {record.who}  {record.action}"
        f"{' ' + record.verdict if record.verdict else ''}  version {record.version}"
        f"  champion {record.champion_before or 'none'} -> {record.champion_after or 'none'}  {record.why}"
    )
