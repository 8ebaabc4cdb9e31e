"""The page about distances, in `reports/`."""

from collections.abc import Sequence
from pathlib import Path

from graftline.files import write_atomically
from graftline.pages.distance_page import DistancePage, PairShown, render
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.workspace import Workspace
from graftline.transfer.distances import MEASURES
from graftline.transfer.pairs import Pair
from graftline.transfer.pictures import Gap, gap_picture

PAGE = "distance.html"


def write_page(
    workspace: Workspace, data: ValidatedData, base_model: str, pairs: Sequence[Pair], too_few: Sequence[str]
) -> Path:
    """Write it. Returns: where it lies."""
    page = DistancePage(
        data_version=data.data.version,
        base_model=base_model,
        measures=list(MEASURES.values()),
        pairs=[_shown(pair) for pair in pairs],
        too_few=too_few,
        picture=gap_picture([_gap(pair) for pair in pairs]) if pairs else None,
    )
    path = workspace.reports / PAGE
    workspace.reports.mkdir(exist_ok=True)
    write_atomically(path, render(page))
    return path


def _shown(pair: Pair) -> PairShown:
    found = pair.distances
    return PairShown(
        about=pair.about,
        source=pair.source,
        target=pair.target,
        rows=(found.source_rows, found.target_rows),
        told_apart=found.told_apart,
        measures=[(one.value, one.usual_low, one.usual_high, one.p) for one in found.of.values()],
        differ=found.differ,
        advice=pair.advice,
    )


def _gap(pair: Pair) -> Gap:
    found = pair.distances
    usual = found.a_distance.usual_low, found.a_distance.usual_high
    return Gap(pair.target, found.a_distance.value, found.a_low, found.a_high, usual, found.differ)
