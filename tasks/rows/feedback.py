"""Labels that came later: the rows of `feedback/`, joined by id with what was served, and what becomes of each."""

import base64
import binascii
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from graftline.answers.tasks import TASKS
from graftline.errors import SettingsError
from graftline.settings import DataSettings
from graftline.tasks.data.labels_later import FOLDER, ID, LABEL, SUFFIXES, Label, label_files, labels_of
from graftline.tasks.rows.served_log import ServedRow, ServedRows, served_rows
from graftline.tasks.workspace import Workspace
from graftline.wording import shown

# What becomes of a row; every row of feedback has exactly one of these.
Fate = Literal[
    "ready",
    "unreadable",
    "repeated",
    "superseded",
    "conflicting",
    "unknown id",
    "ambiguous id",
    "no input",
    "damaged input",
    "known",
    "contradicts the data",
    "near a held-out row",
    "held out",
    "refused by validation",
]
MEANING: dict[Fate, str] = {
    "ready": "can become new rows",
    "unreadable": "have no id or no label, or cannot be read",
    "repeated": "say once more what another row says",
    "superseded": "are older than another label of the same id",
    "conflicting": "give one input several labels",
    "unknown id": "have an id that was not served",
    "ambiguous id": "have an id under which several inputs were served",
    "no input": "have no input in the log, which kept its digest only",
    "damaged input": "have an input in the log that is not the one of its digest",
    "known": "are in the data already, with this label",
    "contradicts the data": "are in the data already, with another label",
    "near a held-out row": "equal or nearly equal a held-out row",
    "held out": "would be held out, and were not drawn at random",
    "refused by validation": "would be quarantined",
}


@dataclass(frozen=True)
class FeedbackRow(Label):
    """One label that came later, and what becomes of it."""

    fate: Fate = "ready"
    why: str = ""
    served: ServedRow | None = None
    content: bytes = b""
    """The input."""

    @property
    def place(self) -> str:
        return f"{self.file} line {self.line}"

    @property
    def digest(self) -> str | None:
        """By which the input is known, if it was served."""
        return self.served.digest if self.served else None

    def ends(self, fate: Fate, why: str = "") -> "FeedbackRow":
        return replace(self, fate=fate, why=why)


@dataclass(frozen=True)
class Feedback:
    """All rows of feedback/, in the order of files and lines."""

    rows: tuple[FeedbackRow, ...]
    unreadable_logs: tuple[Path, ...]

    @property
    def counts(self) -> dict[str, int]:
        counted = Counter(row.fate for row in self.rows)
        return {fate: counted[fate] for fate in MEANING if counted[fate]}

    @property
    def disagreeing(self) -> int:
        """How many of the labels are not what was answered; of numbers that says nothing."""
        return sum(row.served is not None and row.label != row.served.answer for row in self.rows)

    @property
    def answered(self) -> int:
        """How many of the labels are for an input that was served."""
        return sum(row.served is not None for row in self.rows)


def read_feedback(workspace: Workspace, settings: DataSettings, model: str, *, newest_wins: bool) -> Feedback:
    """The labels with what was served under their ids, each with its fate as far as the log alone tells it.

    Raises: SettingsError or DataRefusedError if there is none, or a table of it lacks id or label.
    """
    files = label_files(workspace.root)
    if not files:
        raise SettingsError(
            f"{workspace.root / FOLDER}: holds no table; expected labels that came later in {', '.join(SUFFIXES)}, with"
            f" the columns {ID} and {LABEL}"
        )
    rows = [_row_of(label) for path in files for label in labels_of(path, workspace.root, settings)]
    served = served_rows(workspace, model, {row.id for row in rows})
    rows = [row if row.fate != "ready" else _joined(row, served, settings) for row in rows]
    return Feedback(tuple(_settled(rows, newest_wins=newest_wins)), served.unreadable)


def _row_of(one: Label) -> FeedbackRow:
    row = FeedbackRow(**vars(one))
    return row if one.fault is None else row.ends("unreadable", one.fault)


def _joined(row: FeedbackRow, served: ServedRows, settings: DataSettings) -> FeedbackRow:
    """The row with what was served under its id."""
    same = served.by_id.get(row.id, [])
    if not same:
        return row.ends("unknown id")
    if len({one.digest for one in same}) > 1:
        return row.ends("ambiguous id", f"{len(same)} inputs were served under it")
    kept = next((one for one in reversed(same) if one.input is not None), same[-1])
    kept = replace(kept, answer=_answer(kept.answer, settings))
    row = replace(row, served=kept)
    if kept.input is None:
        return row.ends("no input")
    content = _bytes_of(kept.input, settings)
    if content is None or hashlib.sha256(content).hexdigest() != kept.digest:
        return row.ends("damaged input")
    return replace(row, content=content)


def _answer(answer: str, settings: DataSettings) -> str:
    """What was answered as a target is written; several labels stand there as a list of JSON."""
    targets = TASKS[settings.task].targets
    if settings.task == "multi_label":
        try:
            listed = json.loads(answer)
            answer = targets.from_list(listed, settings) if isinstance(listed, list) else answer
        except ValueError:
            return answer
    return targets.canonical(answer, settings)


def _bytes_of(said: str, settings: DataSettings) -> bytes | None:
    if settings.kind == "text":
        return said.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(said, validate=True)
    except (binascii.Error, ValueError):
        return None


def _settled(rows: Sequence[FeedbackRow], *, newest_wins: bool) -> list[FeedbackRow]:
    """Of rows with one id, or one input under several, one stays if they say the same."""
    fates = dict(enumerate(rows))
    for by_id in (True, False):
        for places in _alike(fates, by_id=by_id):
            for place, row in zip(places, _one_of([fates[place] for place in places], newest_wins), strict=True):
                fates[place] = row
    return [fates[place] for place in range(len(rows))]


def _alike(rows: Mapping[int, FeedbackRow], *, by_id: bool) -> Iterable[list[int]]:
    groups: dict[str, list[int]] = {}
    for place, row in rows.items():
        name = row.id if by_id else row.digest
        # Also of what was kept as a digest only: what it is labelled, twice or otherwise, is worth a look.
        if name is not None and row.fate in ("ready", "no input"):
            groups.setdefault(name, []).append(place)
    return [places for places in groups.values() if len(places) > 1]


def _one_of(rows: Sequence[FeedbackRow], newest_wins: bool) -> list[FeedbackRow]:
    labels = list(dict.fromkeys(row.label for row in rows))
    winner = labels[0]
    if len(labels) > 1:
        newest = _newest(rows) if newest_wins else None
        if newest is None:
            said = " and ".join(shown(label) for label in labels)
            way = "" if newest_wins else "; --newest-wins takes the newest by its time"
            return [row.ends("conflicting", f"labelled {said}{way}") for row in rows]
        winner = newest
    kept, settled = False, []
    for row in rows:
        if row.label != winner:
            settled.append(row.ends("superseded", f"labelled {shown(winner)} later"))
        elif kept:
            settled.append(row.ends("repeated"))
        else:
            kept = True
            settled.append(row)
    return settled


def _newest(rows: Sequence[FeedbackRow]) -> str | None:
    """The label of the newest row; None where a time is missing, or the newest ones differ."""
    times = [_time(row.time) for row in rows]
    if any(time is None for time in times):
        return None
    newest = max(time for time in times if time is not None)
    labels = {row.label for row, time in zip(rows, times, strict=True) if time == newest}
    return labels.pop() if len(labels) == 1 else None


def _time(text: str) -> float | None:
    """Seconds since 1970 of a time in ISO 8601; without a zone it is one in UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
