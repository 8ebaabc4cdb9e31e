"""`graftline quarantine`: list the rows that validation put aside, write them to be mended, and admit mended ones."""

from collections import Counter
from pathlib import Path

from pydantic import JsonValue

from graftline.errors import DataRefusedError
from graftline.flows.columns import in_columns
from graftline.flows.console import plain_progress
from graftline.flows.new_rows import Consent, Say, finish
from graftline.pages.text import visible
from graftline.pages.validation_page import QuarantinedRow
from graftline.settings import Settings
from graftline.tasks.rows.admission import admit, look_at_data
from graftline.tasks.rows.changes import Proposal
from graftline.tasks.rows.draft import drafted
from graftline.tasks.rows.kept_validations import KeptValidation, kept_validation
from graftline.tasks.rows.mend_table import MendedRow, read_mend_table, write_mend_table
from graftline.tasks.rows.whole_version import whole_version
from graftline.tasks.workspace import Workspace
from graftline.wording import shortened

COLUMNS = ("line", "id", "reasons", "content")
SHOWN_ROWS, REASON_CHARACTERS, CONTENT_CHARACTERS = 50, 60, 60
CHOSEN = "rows that validation had put aside, corrected by hand"


def list_quarantine(root: Path, settings: Settings, *, of: str | None, reason: str | None) -> dict[str, JsonValue]:
    """The rows of the newest validation of the data, or of the one whose key begins with `of`; by `reason`, if given.

    A plain function: it only reads. Raises: SettingsError if there is no such validation.
    """
    kept = kept_validation(Workspace(root), settings.data, of)
    rows = _with_reason(kept, reason)
    counts = Counter(name for row in kept.rows for name in {said.partition(":")[0] for said in row.reasons})
    lines = [_line(row) for row in rows[:SHOWN_ROWS]]
    told = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    head = f"{len(kept.rows)} rows in quarantine of version {kept.version[:12]}{f': {told}' if told else ''}"
    more = f"\n... and {len(rows) - SHOWN_ROWS} more, which --json lists" if len(rows) > SHOWN_ROWS else ""
    return {
        "validation": kept.key,
        "version": kept.version,
        "refused": kept.is_refused,
        "quarantined": len(kept.rows),
        "reasons": dict(counts),
        "rows": [
            {"line": row.line, "id": row.row_id, "reasons": list(row.reasons), "values": dict(row.values)}
            for row in rows
        ],
        "summary": f"{head}\n{in_columns(COLUMNS, lines)}{more}" if rows else head,
    }


@plain_progress()
def mend(root: Path, settings: Settings, target: Path, *, of: str | None, reason: str | None) -> dict[str, JsonValue]:
    """Write these rows with all their columns to a table that a person corrects.

    Raises: DataRefusedError if that validation is of another version of the data than lies there now.
    """
    workspace = Workspace(root)
    version = whole_version(workspace, settings.data)
    kept = kept_validation(workspace, settings.data, of)
    if kept.version != version.version:
        raise DataRefusedError(
            f"validation {kept.key[:8]} looked at version {kept.version[:12]}, the data are at {version.version[:12]};"
            " validate them first with `graftline adapt`, or name another validation with --of"
        )
    reasons = {row.line: row.reasons for row in _with_reason(kept, reason)}
    count = write_mend_table(target, workspace, settings.data, version, reasons)
    return {
        "file": str(target),
        "rows": count,
        "version": version.version,
        "summary": f"{target}: {count} rows to correct; then `graftline quarantine admit {target}`",
    }


@plain_progress()
def admit_mended(root: Path, settings: Settings, source: Path, consent: Consent, say: Say) -> dict[str, JsonValue]:
    """Put corrected rows in the place of the faulty ones, as the next version of the data.

    Raises: DataRefusedError if no row can be admitted, or the data cannot be replaced now.
    """
    consent.require()
    workspace = Workspace(root)
    version = whole_version(workspace, settings.data)
    with drafted(workspace, settings.data, version) as draft:
        old = look_at_data(draft)
        mended = read_mend_table(source, workspace, settings.data, version, old.reasons)
        proposal = Proposal({row.change.line: row.change for row in mended if row.change})
        admission = admit(draft, old, proposal)
        refused = {row.place: row.fault for row in mended if row.fault}
        refused |= {f"line {key}": "; ".join(why) for key, why in admission.refused.items()}
        said = [f"{place}: {why}" for place, why in refused.items()]
        done = finish(draft, admission, consent, command="quarantine", chosen=CHOSEN, refused=said, say=say)
        still = len(old.reasons) - len(admission.admitted.keys)
    counts: dict[str, JsonValue] = {
        "read": len(mended),
        "admitted": len(admission.admitted.keys),
        "unchanged": sum(_asks_nothing(row) for row in mended),
        "refused": len(refused),
    }
    told: list[JsonValue] = [{"place": place, "why": why} for place, why in refused.items()]
    ending = f" ({len(refused)} rows were refused)" if refused and done["written"] else ""
    return {**done, "counts": counts, "refused": told, "left_in_quarantine": still,
            "summary": f"{done['summary']}{ending}"}  # fmt: skip


def _asks_nothing(row: MendedRow) -> bool:
    return row.change is None and row.fault is None


def _with_reason(kept: KeptValidation, reason: str | None) -> list[QuarantinedRow]:
    named = [row for row in kept.rows if any(one.partition(":")[0] == reason for one in row.reasons)]
    return list(kept.rows) if reason is None else named


def _line(row: QuarantinedRow) -> tuple[str, ...]:
    content = " | ".join(text or "" for text in row.values.values())
    return (
        str(row.line),
        visible(shortened(row.row_id or "-", CONTENT_CHARACTERS)),
        visible(shortened("; ".join(row.reasons), REASON_CHARACTERS)),
        visible(shortened(" ".join(content.split()), CONTENT_CHARACTERS)),
    )
