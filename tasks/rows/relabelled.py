"""Rows that are to have another label, named by a person: which they are, and the change that gives it to them."""

from collections.abc import Sequence

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.data.tables import read_header
from graftline.errors import SettingsError
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.rows.additions import as_cell
from graftline.tasks.rows.changes import CLASS_FOLDER, Change, Proposal
from graftline.tasks.rows.doubted_labels import DoubtedLabels, LabelledRow
from graftline.tasks.rows.draft import Draft
from graftline.wording import did_you_mean, shown

SHOWN_NAMES = 5


def named_rows(accepted: Sequence[LabelledRow], names: Sequence[str]) -> list[LabelledRow]:
    """The accepted rows with these names, each once. Raises: SettingsError for a name that no accepted row has."""
    rows = {row.row: row for row in accepted}
    if missing := [name for name in names if name not in rows]:
        told = ", ".join(shown(name) for name in missing[:SHOWN_NAMES])
        raise SettingsError(
            f"labels: {len(missing)} of {len(names)} names are of no accepted row ({told}); expected names as"
            f" `graftline labels list` shows them{did_you_mean(missing[0], rows, shown)}"
        )
    return [rows[name] for name in dict.fromkeys(names)]


def new_labels(found: DoubtedLabels, named: Sequence[LabelledRow], label: str | None, data: ValidatedData,
               draft: Draft) -> dict[int, str]:  # fmt: skip
    """By line the label that each row, and each other row of the same input and label, is to have.

    Raises: SettingsError if a row is not doubted, and no label is said; or if the label is none of the data's.
    """
    likely = {one.row.line: one.likely for one in found.doubts}
    said = None if label is None else _known(label, data, draft)
    if said is None and (sure := [row for row in named if row.line not in likely]):
        raise SettingsError(
            f"labels: the label of {shown(sure[0].row)} is not doubted, so there is no likely one; say which it is to"
            " have with --label"
        )
    wanted = {(row.digest, row.target): said or likely[row.line] for row in named}
    return {row.line: wanted[row.digest, row.target] for row in found.rows if (row.digest, row.target) in wanted}


def relabelling(found: DoubtedLabels, labels: dict[int, str], draft: Draft) -> Proposal:
    """The changes of these lines' labels; rows that have theirs already are left as they are."""
    changes = {}
    for row in found.rows:
        label = labels.get(row.line)
        if label is not None and label != row.target:
            changes[row.line] = Change(row.line, _cells(label, draft), origin=_origin(row, label))
    return Proposal(changes)


def _known(label: str, data: ValidatedData, draft: Draft) -> str:
    targets = TASKS[data.task].targets
    meant = targets.canonical(label, draft.settings)
    if fault := targets.malformed(meant, draft.settings):
        raise SettingsError(f"--label {shown(label)}: {fault}")
    if unknown := [one for one in targets.labels(meant, draft.settings) if one not in data.labels]:
        raise SettingsError(
            f"--label {shown(label)}: {shown(unknown[0])} is no label of these data, expected one of"
            f" {', '.join(shown(one) for one in data.labels)}{did_you_mean(unknown[0], data.labels, shown)}"
        )
    return meant


def _cells(label: str, draft: Draft) -> dict[str, str | None]:
    if draft.version.table.is_dir():
        return {CLASS_FOLDER: label}
    target = draft.settings.target
    return {target: as_cell(label, read_header(draft.version.table)[target], draft.settings)}


def _origin(row: LabelledRow, label: str) -> dict[str, JsonValue]:
    return {"label_before": row.target, "label": label, "side": row.side}
