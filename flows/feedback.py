"""`graftline feedback`: labels that came later, joined with what was served, and made rows of the next version."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from graftline.flows.columns import in_columns
from graftline.flows.console import plain_progress
from graftline.flows.new_rows import Consent, Say, finish
from graftline.pages.text import visible
from graftline.settings import Settings
from graftline.tasks.rows.additions import Objector, compared_with_data, known_inputs, proposal_of
from graftline.tasks.rows.admission import admit, look_at_data
from graftline.tasks.rows.draft import drafted
from graftline.tasks.rows.feedback import MEANING, Fate, Feedback, FeedbackRow, read_feedback
from graftline.tasks.rows.whole_version import whole_version
from graftline.tasks.workspace import Workspace
from graftline.wording import shortened

COLUMNS = ("place", "id", "label", "answer", "what becomes of it")
SHOWN_ROWS, CELL_CHARACTERS = 50, 60
AT_RANDOM = "labels of served inputs that were drawn at random"
CHOSEN = "labels of served inputs that were not drawn at random, so none is held out"


@plain_progress()
def list_feedback(root: Path, settings: Settings, *, newest_wins: bool) -> dict[str, JsonValue]:
    """Every label with what was served under its id, and what would become of it; validation has not been asked yet.

    Raises: SettingsError if there is no feedback.
    """
    workspace = Workspace(root)
    feedback = _compared(workspace, settings, newest_wins=newest_wins)
    lines = [_line(row) for row in feedback.rows[:SHOWN_ROWS]]
    more = len(feedback.rows) - SHOWN_ROWS
    table = in_columns(COLUMNS, lines) + (f"\n... and {more} more, which --json lists" if more > 0 else "")
    return {**_told(feedback, settings), "summary": "\n".join([*_counted(feedback, settings), table])}


@plain_progress()
def admit_feedback(
    root: Path, settings: Settings, consent: Consent, say: Say, *, newest_wins: bool, at_random: bool
) -> dict[str, JsonValue]:
    """Make the labelled inputs rows of the next version, but none that would stand beside a held-out row like it.

    `at_random` says that nobody chose which inputs to label: only then may some be held out.
    Raises: DataRefusedError if the data cannot be replaced now.
    """
    consent.require()
    workspace = Workspace(root)
    feedback = _compared(workspace, settings, newest_wins=newest_wins)
    version = whole_version(workspace, settings.data)
    with drafted(workspace, settings.data, version) as draft:
        proposal, places = proposal_of(feedback, draft)
        objector = Objector(draft, at_random, {})
        admission = admit(draft, look_at_data(draft), proposal, objector)
        rows = list(feedback.rows)
        for key, why in admission.refused.items():
            fate = objector.fates.get(key, "refused by validation")
            rows[places[key]] = rows[places[key]].ends(fate, "; ".join(why))
        feedback = replace(feedback, rows=tuple(rows))
        for line in _counted(feedback, settings):
            say(line)
        chosen = AT_RANDOM if at_random else CHOSEN
        done = finish(draft, admission, consent, command="feedback", chosen=chosen, refused=[], say=say)
    admitted = len(admission.admitted.keys)
    counts: dict[str, JsonValue] = {"read": len(rows), "admitted": admitted, "left_out": len(rows) - admitted}
    return {**_told(feedback, settings), **done, "counts": counts}


def _compared(workspace: Workspace, settings: Settings, *, newest_wins: bool) -> Feedback:
    feedback = read_feedback(workspace, settings.data, settings.registry.model, newest_wins=newest_wins)
    version = whole_version(workspace, settings.data)
    return compared_with_data(feedback, known_inputs(workspace, settings.data, version), settings.data)


def _told(feedback: Feedback, settings: Settings) -> dict[str, JsonValue]:
    return {
        "read": len(feedback.rows),
        "fates": dict(feedback.counts),
        "served": feedback.answered,
        "disagreeing": None if settings.data.task == "regression" else feedback.disagreeing,
        "unreadable_logs": [str(path) for path in feedback.unreadable_logs],
        "rows": [_as_json(row) for row in feedback.rows],
    }


def _as_json(row: FeedbackRow) -> dict[str, JsonValue]:
    answer = row.served.answer if row.served else None
    return {"file": row.file, "line": row.line, "id": row.id, "label": row.label, "answer": answer,
            "fate": row.fate, "why": row.why}  # fmt: skip


def _counted(feedback: Feedback, settings: Settings) -> list[str]:
    """How many rows there are of each fate, and of the labels how many are not what was answered."""
    counts: Counter[Fate] = Counter(row.fate for row in feedback.rows)
    lines = [f"{len(feedback.rows):>7} labels in feedback/"]
    lines += [f"{counts[fate]:>7} {meaning}" for fate, meaning in MEANING.items() if counts[fate]]
    if settings.data.task != "regression" and feedback.answered:
        lines.append(f"{feedback.disagreeing:>7} of {feedback.answered} differ from what was answered")
    lines += [f"{path}: not readable; its rows are as if they had not been served" for path in feedback.unreadable_logs]
    return lines


def _line(row: FeedbackRow) -> tuple[str, ...]:
    answer = row.served.answer if row.served else "-"
    fate = f"{row.fate}: {row.why}" if row.why else row.fate
    return tuple(visible(shortened(text, CELL_CHARACTERS)) for text in (row.place, row.id, row.label, answer, fate))
