"""`graftline verify`: is a bundle what its signer made, and what does it say: without project, registry, network."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from graftline.envelopes import key_of
from graftline.errors import BundleRefusedError, SettingsError
from graftline.pages.text import spelt_out
from graftline.tasks.bundles.keys import keys_that_count
from graftline.tasks.bundles.proving import Proven, prove, read_bundle
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.signing import TRUSTED_KEYS, Signing
from graftline.tasks.registry.versions import shown
from graftline.tasks.tracking.model_files import faults_in

SHOWN_FAULTS = 20


def verify(path: Path, keys: Sequence[str] = (), model: Path | None = None) -> dict[str, JsonValue]:
    """Check a bundle by the recipient's keys, and the files of the model in the folder `model`, if there is one.

    A plain function that writes nothing, and asks nobody.
    Raises: BundleRefusedError if anything is not as it was signed; SettingsError if no key is named whose signature
    counts, or something cannot be read.
    """
    signing = keys_that_count(keys)
    content = read_bundle(path)
    if signing is None:
        raise _no_key(path, content)
    proven = prove(str(path), content, signing)
    if model is not None:
        _require_model(path, proven, model)
    said = _said(proven, signing) | {"model_files_compared": len(proven.statement.subject) if model else None}
    summary = "\n".join(_in_one_line(line) for line in _summary(proven, model))
    return {**cast("dict[str, JsonValue]", _spelt_out(said)), "summary": summary}


def _no_key(path: Path, content: bytes) -> SettingsError:
    try:
        key = key_of(content)
    except ValueError as error:
        raise BundleRefusedError(f"{path}: {error}; have it sent anew") from None
    return SettingsError(
        f"{path}: no key is named whose signature counts, and anybody can make a key; it says that it is signed with"
        f" {key}: ask whoever is said to have made it whether that is theirs, by another way than the one that it came"
        f" by, then name it with --key, or in the file that {TRUSTED_KEYS} names"
    )


def _require_model(path: Path, proven: Proven, folder: Path) -> None:
    if not folder.is_dir():
        raise SettingsError(f"--model {folder}: is no folder; name the one that holds the model's MLmodel")
    expected = {one.name: one.digest.sha256 for one in proven.statement.subject}
    if faults := faults_in(folder, expected):
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise BundleRefusedError(
            f"{folder}: is not the model that {path} is about: {faults[0]}{more}; load nothing of it, and have it sent"
            " anew",
            faults[:SHOWN_FAULTS] if more else [],
        )


def _said(proven: Proven, signing: Signing) -> dict[str, JsonValue]:
    """What the bundle says, for a reader that is a program."""
    record, verdict, provenance = proven.record, proven.statement.predicate, proven.provenance
    return {
        "model": verdict.model,
        "version": verdict.version,
        "verdict": record.verdict,
        "reasons": list(record.reasons),
        "decided": {"when": record.when, "who": record.who, "record": record.number},
        "later": [
            {"when": one.when, "who": one.who, "record": one.number, "action": one.action, "why": one.why}
            for one in _later(proven)
        ],
        "champion": {
            "before": record.champion_before,
            "after": record.champion_after,
            "when_bundled": proven.records[-1].champion_after,
        },
        "score": {"name": verdict.stated.main_score, **proven.score.model_dump(), "rows": proven.numbers.rows},
        "data_version": provenance.data_version,
        "data_modified": provenance.data_modified,
        "split": {
            "from": provenance.split_from,
            **provenance.settings.data.model_dump(),
            "sha256": provenance.split_sha256,
            "test_sha256": provenance.test_sha256,
            "rows": {**verdict.stated.rows},
        },
        "base_model": {
            "uri": provenance.base_model,
            "revision": provenance.base_model_revision,
            "sha256": provenance.base_model_sha256,
            "lock_sha256": provenance.locks.get("base_models.lock"),
        },
        "policy_sha256": provenance.policy_sha256,
        "git_commit": provenance.git_commit,
        "signed": {"key": proven.key, **verdict.made.model_dump(), "trusted_in": signing.trusted_in},
        "records": {"checked": len(proven.records), "signed_by": {**proven.signed_by}},
        "files": len(proven.statement.subject),
        "notes": list(proven.notes),
    }


def _later(proven: Proven) -> list[Record]:
    """What people decided about the version after the verdict, such as an override."""
    return [one for one in proven.records[proven.record.number :] if one.version == proven.record.version]


def _summary(proven: Proven, model: Path | None) -> list[str]:
    record, verdict, provenance = proven.record, proven.statement.predicate, proven.provenance
    score, rows = proven.score, verdict.stated.rows
    changed = ", but its files differed from it" if provenance.data_modified else ""
    sides = ", ".join(f"{count:,} {side}" for side, count in rows.items())
    compared = "equal in " + str(model) if model else "compared with no folder, which --model names"
    return [
        f"{verdict.model} version {verdict.version}: {record.verdict}, {record.when} by {record.who}",
        *(f"  - {reason}" for reason in record.reasons),
        f"{verdict.stated.main_score} {score.value:.4f} (95 % interval {score.low:.4f} to {score.high:.4f}) on"
        f" {proven.numbers.rows:,} held-out rows",
        *(f"later: {one.action}, {one.when} by {one.who}: {one.why}" for one in _later(proven)),
        f"champion: before {shown(record.champion_before)}, after {shown(record.champion_after)}; when this was"
        f" bundled {shown(proven.records[-1].champion_after)}",
        f"data version {provenance.data_version}{changed}; split by {provenance.split_from}; rows: {sides}",
        f"base model {provenance.base_model}, sha256 {provenance.base_model_sha256}",
        f"signed with {proven.key}, which you trust, {verdict.made.when} by {verdict.made.who} with Graftline"
        f" {verdict.made.graftline}",
        f"checked: {len(proven.records)} records, unbroken{_signatures(proven)}; {len(verdict.files)} files and"
        f" {len(verdict.tags)} tags that the verdict's record binds",
        f"the model's {len(proven.statement.subject)} files: {compared}",
        *(f"note: {note}" for note in proven.notes),
        "by the signer's word alone: settings, counts of rows, base model, code and libraries of the run",
    ]


def _signatures(proven: Proven) -> str:
    count = sum(proven.signed_by.values())
    return f", {count} of them signed with keys that you trust" if count else ", none of them signed by itself"


def _in_one_line(text: str) -> str:
    """So that nobody's text begins a line that looks like one of ours."""
    return spelt_out(text.replace("\n", "\\n"))


def _spelt_out(value: object) -> object:
    """Texts of others, which a terminal might take for commands."""
    if isinstance(value, str):
        return spelt_out(value)
    if isinstance(value, dict):
        return {_spelt_out(name): _spelt_out(one) for name, one in value.items()}
    return [_spelt_out(one) for one in value] if isinstance(value, list) else value
