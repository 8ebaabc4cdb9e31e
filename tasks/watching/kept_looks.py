"""The looks that were had at a champion, one file each, written once and chained by number."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pydantic import TypeAdapter, ValidationError

from graftline.digests import json_sha256
from graftline.errors import RegistryRefusedError
from graftline.files import json_file
from graftline.tasks.state.folder import Folder
from graftline.tasks.state.room import Room
from graftline.tasks.state.shared import shared_state
from graftline.tasks.watching.reference import ABOUT, ROWS, About, Reference, packed, unpacked
from graftline.tasks.workspace import Workspace
from graftline.transfer.permutations import Permuted
from graftline.watching.looks import Rows, Signal, Watched
from graftline.watching.scores import Bounds

if TYPE_CHECKING:
    from graftline.evaluation.metrics import Floats

FOLDER = "watch"


@dataclass(frozen=True)
class Look:
    """One look, as the next ones have to know it and the page shows it."""

    number: int
    first: date
    """The first day of its rows."""
    last: date
    rows: int
    compared: int
    """How many of them were drawn to be compared."""
    tested: Mapping[Signal, Permuted]
    signals: Mapping[Signal, Watched]
    """What each signal's game stands at after this look."""
    labelled: int
    """For how many rows a label came that no look had counted."""
    promised: float
    """What the true score was compared with: the held-out rows' less the policy's margin, or less their own luck."""
    score: Bounds | None
    """The true score of all labelled rows so far, with bounds that hold at all times together."""
    day_score: float | None
    """That of the rows whose labels this look counts."""
    estimated: float | None
    """The score as the confidence of this look's rows tells it."""
    estimated_error: float | None
    means: Mapping[str, tuple[float, float]]
    """Of each fact and each label's share: its mean on the held-out rows, and on this look's."""
    rows_sha256: str
    previous_sha256: str | None
    had: datetime | None = None
    """When it was had; None of one that nobody keeps."""

    @property
    def alarms(self) -> dict[Signal, int]:
        """By signal the look that raised an alarm which still stands."""
        return {name: one.alarm for name, one in self.signals.items() if one.alarm is not None}


@dataclass(frozen=True, eq=False)
class LookRows:
    """What a look saw of the rows."""

    compared: Rows
    ids: tuple[str, ...]
    """Of all rows of the look."""
    answers: tuple[str, ...]
    times: tuple[str, ...]
    """ISO 8601."""
    scored: tuple[str, ...]
    """The ids whose labels it counted, in their order."""
    right: "Floats"
    """How good their answers are."""


class Looks(Protocol):
    """The looks so far, and where the next one goes."""

    records: list[Look]
    rows: list[LookRows]

    def add(self, look: Look, rows: LookRows) -> None: ...


@dataclass
class ImaginedLooks:
    """Looks that nobody keeps."""

    records: list[Look] = field(default_factory=list)
    rows: list[LookRows] = field(default_factory=list)

    def add(self, look: Look, rows: LookRows) -> None:
        self.records.append(look)
        self.rows.append(rows)


def room_of(workspace: Workspace, model: str, *names: str) -> Room:
    """Where the looks at a model lie: in a team's state, if there is one, otherwise in the project folder."""
    state = shared_state()
    if state is not None:
        return state.room(FOLDER, model, *names)
    return Folder((workspace.artifacts / FOLDER / model).joinpath(*names))


class KeptLooks:
    """The looks in a folder of the champion's own: NNNNNN.json each, and beside it the rows that later ones need."""

    def __init__(self, workspace: Workspace, model: str, version: int, run_id: str) -> None:
        """Raises: RegistryRefusedError if a look was edited or removed."""
        # A number alone may be another version in another registry.
        self._room = room_of(workspace, model, f"{version}-{run_id[:12]}")
        self.records: list[Look] = []
        self.rows: list[LookRows] = []
        for name in self._room.names():
            if name.endswith(".json") and name != ABOUT:
                self._read(name)

    def reference(self) -> Reference | None:
        """What the first look compared with, if there was one: a champion's reference stays as long as it does."""
        about, rows = self._room.read(ABOUT), self._room.read(ROWS)
        if about is None or rows is None:
            return None
        found, others = unpacked(rows.content)
        return Reference(TypeAdapter(About).validate_json(about.content), found, others["right"])

    def keep_reference(self, reference: Reference) -> None:
        """Keep what all looks at this champion compare with."""
        self._room.write_once(ROWS, packed(reference.rows, right=reference.right))
        self._room.write_once(ABOUT, json_file(TypeAdapter(About).dump_python(reference.about, mode="json")))

    def add(self, look: Look, rows: LookRows) -> None:
        """Raises: RegistryRefusedError if another process had this look meanwhile."""
        look = replace(look, had=datetime.now(UTC))
        # By its digest: what a killed process left is the same or never read.
        self._room.write_once(_rows_name(look), _packed(rows))
        if not self._room.write_once(f"{look.number:06d}.json", json_file(_plain(look))):
            raise RegistryRefusedError(
                f"{self._room.where('')}: look {look.number} was had by another process meanwhile; run the same again"
                " to see it"
            )
        self.records.append(look)
        self.rows.append(rows)

    def _read(self, name: str) -> None:
        kept = self._room.read(name)
        try:
            look = TypeAdapter(Look).validate_json(kept.content if kept else b"")
        except ValidationError:
            raise self._broken(name) from None
        previous = self.records[-1] if self.records else None
        rows = self._room.read(_rows_name(look))
        if (
            look.number != len(self.records) + 1
            or look.previous_sha256 != (digest_of(previous) if previous else None)
            or rows is None
            or hashlib.sha256(rows.content).hexdigest() != look.rows_sha256
        ):
            raise self._broken(name)
        self.records.append(look)
        self.rows.append(_unpacked(rows.content))

    def _broken(self, name: str) -> RegistryRefusedError:
        return RegistryRefusedError(
            f"{self._room.where(name)}: does not follow on the look before it, or its rows are not there: a look was"
            " edited or removed; restore the folder from a backup, or remove all of it to begin the year anew"
        )


def digest_of(look: Look) -> str:
    """The digest by which the next look names it."""
    return json_sha256(_plain(look))


def rows_digest(rows: LookRows) -> str:
    return hashlib.sha256(_packed(rows)).hexdigest()


def _plain(look: Look) -> Any:
    plain = TypeAdapter(Look).dump_python(look, mode="json")
    if look.had is None:  # as one from before there was this
        del plain["had"]
    return plain


def _rows_name(look: Look) -> str:
    return f"{look.number:06d}-{look.rows_sha256[:16]}.npz"


def _packed(rows: LookRows) -> bytes:
    return packed(
        rows.compared,
        ids=np.array(rows.ids, dtype=np.str_),
        served=np.array(rows.answers, dtype=np.str_),
        times=np.array(rows.times, dtype=np.str_),
        scored=np.array(rows.scored, dtype=np.str_),
        right=rows.right,
    )


def _unpacked(content: bytes) -> LookRows:
    compared, others = unpacked(content)
    ids, answers, times, scored = (tuple(map(str, others[name])) for name in ("ids", "served", "times", "scored"))
    return LookRows(compared, ids, answers, times, scored, others["right"])
