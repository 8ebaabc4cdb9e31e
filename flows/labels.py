"""`graftline labels`: list the labels that look wrong, correct them in the next version, or let them stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from graftline.flows.columns import in_columns
from graftline.flows.console import plain_progress
from graftline.flows.new_rows import Consent, Say, finish
from graftline.flows.torch_instead import torch_instead
from graftline.pages.text import visible
from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.data.files import DataVersion
from graftline.tasks.data.in_use import data_in_use
from graftline.tasks.rows.admission import Admission, admit, look_at_data
from graftline.tasks.rows.doubted_labels import Doubt, DoubtedLabels, doubted_labels, require_labels
from graftline.tasks.rows.draft import drafted
from graftline.tasks.rows.labels_page import estimate_in_words, held_out_of, recall_in_words, write_page
from graftline.tasks.rows.relabelled import named_rows, new_labels, relabelling
from graftline.tasks.rows.standing_labels import Standing, looked_at, note_standing, standing_file
from graftline.tasks.rows.whole_version import whole_version
from graftline.tasks.steps.choose_runtime import with_chosen_runtime
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from graftline.wording import shortened

COLUMNS = ("row", "side", "given", "likely", "content")
SHOWN_ROWS, CELL_CHARACTERS = 50, 60
CHOSEN = "rows whose label looked wrong to a model and to a person"


@dataclass(frozen=True)
class _Look:
    workspace: Workspace
    version: DataVersion
    data: ValidatedData
    found: DoubtedLabels


@plain_progress()
def list_labels(root: Path, settings: Settings) -> dict[str, JsonValue]:
    """The labels that look wrong, the surest first, with a page; what a person let stand is left out.

    Raises: SettingsError for a regression; what the steps of a run raise.
    """
    look = _look(root, settings)
    held_out = held_out_of(look.found, settings.evaluation.seed)
    page = write_page(look.workspace, look.data, look.found, held_out)
    doubts = look.found.doubts
    ceiling, low, high = held_out.ceiling
    head = [f"{len(doubts):,} of {len(look.found.rows):,} labels look wrong; the page: {page}"]
    head += [estimate_in_words(held_out), recall_in_words(look.found)]
    table = [in_columns(COLUMNS, [_line(one) for one in doubts[:SHOWN_ROWS]])] if doubts else []
    more = [f"... and {len(doubts) - SHOWN_ROWS:,} more, which --json lists"] if len(doubts) > SHOWN_ROWS else []
    return {
        "version": look.version.version,
        "rows": len(look.found.rows),
        "doubted": len(doubts),
        "standing": look.found.standing,
        "not_judged": look.found.not_judged,
        "held_out": {
            "rows": held_out.rows,
            "doubted": held_out.doubts,
            "share": {**held_out.share.as_json()},
            "wrong": {**held_out.wrong.as_json()},
        },
        "looked_at": {"doubts": look.found.looked.doubts, "wrong": look.found.looked.wrong},
        "ceiling": {"value": ceiling, "low": low, "high": high},
        "planted": {"rows": look.found.planted, "found": look.found.planted_found},
        "labels": [_as_json(one) for one in doubts],
        "page": str(page),
        "summary": "\n".join([*head, *table, *more]),
    }


@plain_progress()
def accept_labels(
    root: Path, settings: Settings, names: Sequence[str], label: str | None, consent: Consent, say: Say
) -> dict[str, JsonValue]:
    """Give these rows, and others of the same input, their likely label, or `label`, in the next version of the data.

    Raises: DataRefusedError if no row can be changed, or the data cannot be replaced now.
    """
    consent.require()
    look = _look(root, settings)
    named = named_rows(look.found.rows, names)
    with drafted(look.workspace, settings.data, look.version) as draft:
        labels = new_labels(look.found, named, label, look.data, draft)
        proposal = relabelling(look.found, labels, draft)
        admission = admit(draft, look_at_data(draft), proposal)
        refused = {f"line {key}": "; ".join(why) for key, why in admission.refused.items()}
        said = [f"{place}: {why}" for place, why in refused.items()]
        if held_out := _held_out(look.found, admission):
            say(f"             {held_out} of them are held out: scores of before counted them with their old label")
        file = standing_file(root, settings.data.folder)
        done = finish(
            draft, admission, consent, command="labels", chosen=CHOSEN, refused=said, say=say, more=[file]
        )  # fmt: skip
    if done["written"]:
        doubted = {one.row.line for one in look.found.doubts}
        given = [
            Standing(row.row, row.digest, labels[row.line], row.target, row.line in doubted)
            for row in look.found.rows
            if row.line in admission.admitted.changes
        ]
        note_standing(root, settings.data.folder, given)
    changed = len(admission.admitted.changes)
    counts: dict[str, JsonValue] = {
        "named": len(named),
        "changed": changed,
        "held_out": held_out,
        "unchanged": len(labels) - len(proposal.changes),
        "refused": len(refused),
    }
    told: list[JsonValue] = [{"place": place, "why": why} for place, why in refused.items()]
    return {**done, "counts": counts, "refused": told}


@plain_progress()
def reject_labels(root: Path, settings: Settings, names: Sequence[str]) -> dict[str, JsonValue]:
    """Remember that a person has looked at these rows and that their labels stand. The data stay as they are.

    Raises: SettingsError for a name that no accepted row has.
    """
    look = _look(root, settings)
    named, doubted = named_rows(look.found.rows, names), {one.row.line for one in look.found.doubts}
    standing = look.found.looked.standing
    new = [row for row in named if (row.digest, row.target) not in standing]
    path = standing_file(root, settings.data.folder)
    if new:
        note_standing(
            root,
            settings.data.folder,
            [Standing(row.row, row.digest, row.target, doubted=row.line in doubted) for row in new],
        )
    return {
        "named": len(named),
        "noted": len(new),
        "file": str(path),
        "summary": f"{len(named)} labels stand, {len(new)} of them noted now; next: git add {path.name}",
    }


@torch_instead()
def _look(root: Path, settings: Settings) -> _Look:
    require_labels(settings.data.task)
    workspace = Workspace(root)
    with data_in_use(workspace):
        version = whole_version(workspace, settings.data)
        data = validate_data.fn(workspace, settings.data, version).alone
        base = fetch_model.fn(workspace, settings.base_model.uri)
        settings = with_chosen_runtime(workspace, settings, data, base)
        found = doubted_labels(workspace, settings, data, base, looked_at(root, settings.data.folder))
    return _Look(workspace, version, data, found)


def _held_out(found: DoubtedLabels, admission: Admission) -> int:
    return sum(row.side == "test" for row in found.rows if row.line in admission.admitted.changes)


def _as_json(one: Doubt) -> dict[str, JsonValue]:
    return {"row": one.row.row, "line": one.row.line, "side": one.row.side, "holds": one.row.holds,
            "label": one.row.target, "likely": one.likely, "label_probability": one.given_probability,
            "likely_probability": one.likely_probability}  # fmt: skip


def _line(one: Doubt) -> tuple[str, ...]:
    given, likely = f"{one.row.target} {one.given_probability:.1%}", f"{one.likely} {one.likely_probability:.1%}"
    cells = (one.row.row, one.row.side, given, likely, " ".join(one.row.holds.split()))
    return tuple(visible(shortened(text, CELL_CHARACTERS)) for text in cells)
