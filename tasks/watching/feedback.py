"""The labels that came later, as a watch counts them: the newest of each served row."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from graftline.answers.tasks import TASKS
from graftline.errors import DataRefusedError
from graftline.settings import DataSettings
from graftline.tasks.data.labels_later import FOLDER, Label, label_files, labels_of
from graftline.tasks.workspace import Workspace
from graftline.wording import shown

logger = logging.getLogger("graftline.watch")


@dataclass(frozen=True)
class Feedback:
    """One label."""

    id: str
    label: str
    time: datetime | None
    """When it came, where the table says so."""


def read_feedback(workspace: Workspace, settings: DataSettings) -> dict[str, Feedback]:
    """The labels by the served rows' ids; of several for one row the newest, and without times the last in order.

    What cannot be a label of the task is left out with a warning.
    Raises: DataRefusedError naming a file without ids and labels, or a time that is none.
    """
    found: dict[str, Feedback] = {}
    malformed, left_out = TASKS[settings.task].targets.malformed, 0
    for file in label_files(workspace.root):
        for row in labels_of(file, workspace.root, settings):
            if row.fault or malformed(row.label, settings):
                left_out += 1
                continue
            one = Feedback(row.id, row.label, _time_of(row))
            known = found.get(one.id)
            if known is None or known.time is None or one.time is None or known.time <= one.time:
                found[one.id] = one
    if left_out:
        logger.warning(
            "%s/: %d rows hold no id or no label of data.task %s, and are left out; `graftline feedback list` names"
            " them", FOLDER, left_out, settings.task,
        )  # fmt: skip
    return found


def _time_of(row: Label) -> datetime | None:
    if not row.time:
        return None
    try:
        moment = datetime.fromisoformat(row.time)
    except ValueError:
        raise DataRefusedError(
            f"{FOLDER}/{row.file} line {row.line}: time {shown(row.time)} is no time, expected ISO 8601; mend it"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
