"""The base model that the scores advise, in a sentence that says by which score and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftline.answers.tasks import TASKS
from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.ranking.scores import SCORES, DepthScores, ScoredBase, ScoreName, best, difference

if TYPE_CHECKING:
    from graftline.evaluation.bootstrap import Difference

# A base model that is faster by less saves nothing worth a word.
WORTH_SAYING = 1.25


@dataclass(frozen=True)
class Advice:
    """The base model to take, and why."""

    advised: ScoredBase
    score: str
    """The task's primary score."""
    decided_by: ScoreName
    sentence: str


def advise(settings: Settings, data: ValidatedData, scored: Sequence[ScoredBase]) -> Advice:
    """The base model that is best by the solved head."""
    decided_by: ScoreName = "head"
    advised = best(scored, decided_by)
    said = [
        f"take {advised.uri}: best by {SCORES[decided_by]} ({advised.last.of(decided_by):.4f})",
        *_beside_present(settings, data, scored, advised),
        *_faster(settings, data, scored, advised),
        *_depth(settings, data, advised),
    ]
    return Advice(advised, TASKS[data.task].scores.scoring.primary, decided_by, "; ".join(said))


def _beside_present(
    settings: Settings, data: ValidatedData, scored: Sequence[ScoredBase], advised: ScoredBase
) -> list[str]:
    present = next((one for one in scored if one.uri == settings.base_model.uri), None)
    if present is None or present is advised:
        return []
    found = difference(settings, data, advised.seen, advised.last, present.last)
    shown = "shown better" if found.low > 0 else "not shown better"
    return [f"{shown} than {present.uri}, which base_model.uri names ({_in_words(found)})"]


def _faster(settings: Settings, data: ValidatedData, scored: Sequence[ScoredBase], advised: ScoredBase) -> list[str]:
    """The fastest base model that is not shown to be worse."""
    rate = advised.seen.rows_per_second
    for one in sorted(scored, key=lambda one: -one.seen.rows_per_second):
        if one is advised or one.seen.rows_per_second < WORTH_SAYING * rate:
            continue
        found = difference(settings, data, one.seen, one.last, advised.last)
        if found.high >= 0:
            times = one.seen.rows_per_second / rate
            return [f"{one.uri} is {times:.1f} times as fast and not shown worse ({_in_words(found)})"]
    return []


def _depth(settings: Settings, data: ValidatedData, advised: ScoredBase) -> list[str]:
    """The block whose vectors are shown to do better than those at the end, if one's are."""
    inner: list[tuple[float, DepthScores]] = [(depth.head.value, depth) for depth in advised.depths[:-1]]
    if not inner:
        return []
    depth = max(inner, key=lambda pair: pair[0])[1]
    found = difference(settings, data, advised.seen, depth, advised.last)
    if found.low <= 0:
        return []
    return [f"behind {depth.depth} a head does better than behind the last one ({_in_words(found)}): tune from there"]


def _in_words(found: "Difference") -> str:
    return f"{found.value:+.4f}, {found.low:+.4f} to {found.high:+.4f}"
