"""The base model that the scores advise, in a sentence that says by which score and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftline.answers.tasks import TASKS
from graftline.base_models.lock import UNKNOWN_LICENCE
from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.ranking.scores import SCORES, DepthScores, ScoredBase, ScoreName, best, difference
from graftline.transfer.agreement import FEWEST_BASES, Agreement

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


def advise(
    settings: Settings,
    data: ValidatedData,
    scored: Sequence[ScoredBase],
    checked: Mapping[ScoreName, Agreement],
    are_the_head: int = 0,
) -> Advice:
    """The base model that is best by the score that finished fine-tunings speak for most.

    Where they speak for none, by the solved head, which is exact for `feature_extraction`.
    """
    decided_by = _most_trusted(checked)
    advised = best(scored, decided_by)
    said = [
        f"take {advised.uri}: best by {SCORES[decided_by]} ({advised.last.of(decided_by):.4f})",
        *(["its licence is not known"] if advised.seen.base.licence == UNKNOWN_LICENCE else []),
        *_beside_present(settings, data, scored, advised),
        *_faster(settings, data, scored, advised),
        *_depth(settings, data, advised),
        check_in_words(checked, decided_by, candidates=len(scored), are_the_head=are_the_head),
    ]
    return Advice(advised, TASKS[data.task].scores.scoring.primary, decided_by, "; ".join(said))


def _most_trusted(checked: Mapping[ScoreName, Agreement]) -> ScoreName:
    """By the lower end of its interval; the solved head where others are no better, or none means anything."""
    trusted = [name for name, found in checked.items() if found.means_something]
    return max(trusted, key=lambda name: (checked[name].low, name == "head"), default="head")


def check_in_words(
    checked: Mapping[ScoreName, Agreement], name: ScoreName, *, candidates: int, are_the_head: int = 0
) -> str:
    """What finished fine-tunings say of a score by which so many `candidates` are ranked.

    Of so many of them no epoch was better than the solved head, so that they are no word for it.
    """
    found = checked.get(name)
    if found is None or found.bases < FEWEST_BASES:
        bases = found.bases if found else 0
        next_step = f"`graftline rank --verify {FEWEST_BASES}` does that"
        if candidates < FEWEST_BASES:
            next_step = f"name {FEWEST_BASES - candidates} more in base_models to ask"
        return (
            f"whether that foretells a fine-tuning here is not known: {bases} of these {candidates} base models were"
            f" fine-tuned on these rows, expected {FEWEST_BASES}; {next_step}"
        )
    if found.tau is None or found.low is None or found.high is None:
        return f"{found.points} fine-tunings of {found.bases} base models came to the same, so nothing foretells them"
    interval = f"weighted Kendall tau {found.tau:.2f}, {found.low:.2f} to {found.high:.2f}"
    of = f"{found.points} fine-tunings of {found.bases} base models here ({interval})"
    if are_the_head and name == "head":
        of += f", of which {are_the_head} are that head itself, for no epoch was better"
    return f"it orders {of}" if found.means_something else f"it means nothing here: it does not order {of}"


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
    said = f"behind {depth.depth} a head does better than behind the last one ({_in_words(found)})"
    return [f"{said}, so that tuning the blocks behind it may pay"]


def _in_words(found: "Difference") -> str:
    return f"{found.value:+.4f}, {found.low:+.4f} to {found.high:+.4f}"
