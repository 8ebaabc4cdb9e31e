"""The page about the labels that look wrong, and what it says of the held-out ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graftline.files import write_atomically
from graftline.pages.labels_page import DoubtShown, LabelsPage, render
from graftline.settings import Settings
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData, raw_inputs, read_split
from graftline.tasks.rows.doubted_labels import DoubtedLabels, doubts_at_hand
from graftline.tasks.rows.standing_labels import LookedAt, looked_at
from graftline.tasks.steps.report_examples import MOST_MEDIA_CHARACTERS, PageMedia
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.evaluation.bootstrap import Score
    from graftline.models.preprocessing import Raw

PAGE = "labels.html"
SHOWN_ROWS = 200


@dataclass(frozen=True)
class HeldOut:
    """The held-out labels that look wrong, how many are, and the ceiling that they set."""

    rows: int
    doubts: int
    share: "Score"
    """Of the rows, that look wrong."""
    wrong: "Score"
    """Of the rows, that are wrong."""
    looked: LookedAt

    @property
    def ceiling(self) -> tuple[float, float, float]:
        """The accuracy of a model that is always right, counted by these labels; and its bounds, low and high."""
        return 1 - self.wrong.value, 1 - self.wrong.high, 1 - self.wrong.low


def held_out_of(found: DoubtedLabels, seed: int) -> HeldOut:
    """What the doubts say of the rows that are scored."""
    import numpy as np

    from graftline.transfer.wrong_labels import share_of, wrong_share

    rows = [row for row in found.rows if row.side == "test"]
    lines = {one.row.line for one in found.doubts}
    doubted = np.array([row.line in lines for row in rows], dtype=bool)
    share = share_of(doubted, np.array([row.cluster for row in rows]), seed)
    wrong = wrong_share(
        share,
        looked=found.looked.doubts,
        wrong=found.looked.wrong,
        planted=found.planted,
        found=found.planted_found,
    )
    return HeldOut(len(rows), int(doubted.sum()), share, wrong, found.looked)


def held_out_in_words(workspace: Workspace, settings: Settings, data: ValidatedData, base: BaseModel) -> str | None:
    """How many held-out labels are wrong, if `graftline labels list` has looked at these rows; None otherwise."""
    if data.task == "regression":
        return None
    found = doubts_at_hand(workspace, settings, data, base, looked_at(workspace.root, settings.data.folder))
    return None if found is None else estimate_in_words(held_out_of(found, settings.evaluation.seed))


def estimate_in_words(held_out: HeldOut) -> str:
    """How many held-out labels are wrong, and the ceiling."""
    wrong, looked, (ceiling, low, high) = held_out.wrong, held_out.looked, held_out.ceiling
    seen = (
        f"Of {looked.doubts:,} doubts that people looked at {looked.wrong:,} were right, so about"
        f" {wrong.value * held_out.rows:.0f} of all are wrong,"
        if looked.doubts
        else "Nobody has looked at a doubt yet, and where the base model reads these data poorly most are its own"
        " mistakes: wrong are"
    )
    return (
        f"Of {held_out.rows:,} held-out labels {held_out.doubts:,} look wrong ({held_out.share.value:.1%}). {seen}"
        f" between {wrong.low * held_out.rows:.0f} and {wrong.high * held_out.rows:.0f}. A model that is always right"
        f" scores {ceiling:.1%} then (between {low:.1%} and {high:.1%}), and none can do better."
    )


def recall_in_words(found: DoubtedLabels) -> str:
    """How many labels that were changed on purpose were found."""
    if not found.planted:
        return "No label was changed on purpose to see whether it is found: there are too few rows."
    return (
        f"Of {found.planted:,} labels that were changed on purpose, at random, {found.planted_found:,} were found"
        f" ({found.planted_found / found.planted:.0%}); people's own mistakes are harder to find."
    )


def write_page(workspace: Workspace, data: ValidatedData, found: DoubtedLabels, held_out: HeldOut) -> Path:
    """The page about these doubts. Returns: the file."""
    shown = found.doubts[:SHOWN_ROWS]
    media, raws = PageMedia(data, MOST_MEDIA_CHARACTERS), _raws(workspace, data, {one.row.side for one in shown})
    page = LabelsPage(
        version=data.data.version,
        rows=len(found.rows),
        doubts=len(found.doubts),
        standing=found.standing,
        not_judged=found.not_judged,
        held_out=held_out.rows,
        held_out_doubts=held_out.doubts,
        estimate=estimate_in_words(held_out),
        recall=recall_in_words(found),
        shown=[
            DoubtShown(
                one.row.row,
                one.row.line,
                one.row.side,
                one.row.holds,
                *media.address(raws[one.row.line]),
                one.row.target,
                one.given_probability,
                one.likely,
                one.likely_probability,
            )
            for one in shown
        ],
        kind=data.kind,
    )
    file = workspace.reports / PAGE
    write_atomically(file, render(page))
    return file


def _raws(workspace: Workspace, data: ValidatedData, sides: set[str]) -> "dict[int, Raw]":
    """The inputs of these sides, by line."""
    found: dict[int, Raw] = {}
    for side in sorted(sides):
        lines = [int(line) for line in read_split(data, side, ["line"])["line"]]
        found |= zip(lines, raw_inputs(workspace, data, side), strict=True)
    return found
