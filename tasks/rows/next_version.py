"""From an admitted proposal to the version that the .dvc file names, with a note of where its rows came from."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from graftline.tasks.data.origins import Origin, note_origin, origins_file
from graftline.tasks.registry.history import user
from graftline.tasks.rows.admission import Admission
from graftline.tasks.rows.changes import Change
from graftline.tasks.rows.diff import counts_of
from graftline.tasks.rows.draft import Draft, put_in_place
from graftline.tasks.steps.data_version import pointer_of


def make_version(draft: Draft, admission: Admission, *, command: str, chosen: str) -> str:
    """Put the draft in the place of the data. Returns: its version. Raises: what `put_in_place` raises."""
    folder = draft.settings.folder

    def note(version: str) -> None:
        counts, each = counts_of(admission.admitted), _each(admission)
        origin = Origin(version, draft.version.version, command, counts, chosen, each, user())
        note_origin(draft.workspace.root, folder, origin)

    return put_in_place(draft, note)


def next_commands(draft: Draft, more: Sequence[Path] = ()) -> str:
    """What is left to a person: to commit the version, with `more` files, and to send it where others find it."""
    root, folder = draft.workspace.root, draft.settings.folder
    files = [path.name for path in (origins_file(root, folder), *more)]
    names = " ".join(shlex.quote(name) for name in (pointer_of(folder), *files))
    return f'git add {names} && git commit -m "New rows" && dvc push'


def _each(admission: Admission) -> list[dict[str, JsonValue]]:
    told: list[dict[str, JsonValue]] = []
    for key, change in admission.admitted.changes.items():
        row = admission.new.accepted.get(key)
        told.append({"row": row.row_id if row else None, "line_before": key, **_of_change(change)})
    for key, addition in admission.admitted.additions.items():
        row = admission.new.accepted.get(key)
        told.append({"row": row.row_id if row else None, **addition.origin})
    return told


def _of_change(change: Change) -> dict[str, JsonValue]:
    what = "removed" if change.is_removed else "changed"
    if change.origin:
        return {"what": what, **change.origin}
    # Of a reason its name: behind it stands what the row held.
    reasons: list[JsonValue] = [reason.partition(":")[0] for reason in change.reasons]
    return {"what": what, "was_quarantined_for": reasons}
