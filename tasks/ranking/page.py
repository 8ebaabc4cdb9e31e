"""The page about a ranking, in `reports/`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from graftline.evaluation.scoring import spelt
from graftline.files import write_atomically
from graftline.pages.ranking_page import (
    AgreementShown,
    BaseShown,
    BlockShown,
    DepthShown,
    RankingPage,
    TuningShown,
    render,
)
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.ranking.advice import Advice, check_in_words
from graftline.tasks.ranking.depths import DepthCheck
from graftline.tasks.ranking.points import Point, are_the_head
from graftline.tasks.ranking.scores import NOT_OF, SCORES, DepthScores, ScoredBase, ScoreName
from graftline.tasks.ranking.tuning import Tuning
from graftline.tasks.workspace import Workspace
from graftline.transfer.agreement import Agreement
from graftline.transfer.pictures import Bar, Spot, cost_picture, gradient_picture

PAGE = "ranking.html"


def write_page(
    workspace: Workspace,
    data: ValidatedData,
    scored: Sequence[ScoredBase],
    advice: Advice,
    points: Sequence[Point],
    checked: Mapping[ScoreName, Agreement],
    tuning: Tuning,
    depths: DepthCheck,
) -> Path:
    """Write it. Returns: where it lies."""
    left_out = NOT_OF.get(data.task, {})
    others = [name for name in SCORES if name != "head" and name not in left_out]
    of_head = are_the_head(scored, points)
    said = check_in_words(checked, advice.decided_by, candidates=len(scored), are_the_head=of_head)
    page = RankingPage(
        data_version=data.data.version,
        rows=data.split_rows,
        score=spelt(advice.score),
        advice=advice.sentence,
        other_scores=[SCORES[name] for name in others],
        not_asked=[(SCORES[name], why) for name, why in left_out.items()],
        bases=[_base(one, advice, points, others) for one in scored],
        agreements=[_agreement(name, one) for name, one in checked.items() if points],
        checked=f"{SCORES[advice.decided_by]}: {said}",
        picture=cost_picture([_spot(one, advice, points) for one in scored], spelt(advice.score)),
        tuning=_tuning(tuning, depths),
    )
    path = workspace.reports / PAGE
    workspace.reports.mkdir(exist_ok=True)
    write_atomically(path, render(page))
    return path


def _base(one: ScoredBase, advice: Advice, points: Sequence[Point], others: Sequence[ScoreName]) -> BaseShown:
    base = one.seen.base
    return BaseShown(
        uri=one.uri,
        licence=base.licence,
        megabytes=base.bytes / 1e6,
        parameters=one.seen.parameters,
        rows_per_second=one.seen.rows_per_second,
        depths=[_depth(depth, others) for depth in reversed(one.depths)],
        trained=[(point.name, point.value) for point in points if point.uri == one.uri],
        advised=one is advice.advised,
    )


def _depth(depth: DepthScores, others: Sequence[ScoreName]) -> DepthShown:
    head = depth.head
    return DepthShown(depth.depth, (head.value, head.low, head.high), [depth.of(name) for name in others])


def _agreement(name: ScoreName, one: Agreement) -> AgreementShown:
    known = None if one.tau is None or one.low is None or one.high is None else (one.tau, one.low, one.high)
    return AgreementShown(SCORES[name], known, one.means_something)


def _tuning(tuning: Tuning, depths: DepthCheck) -> TuningShown:
    gradients = tuning.gradients
    bars = [Bar(one.value, one.low, one.high, tuning.tunes(place)) for place, one in enumerate(gradients)]
    blocks = [
        BlockShown(one.block, (one.value, one.low, one.high), tuning.tunes(place), depths.came.get(place))
        for place, one in enumerate(gradients)
    ]
    picture = gradient_picture(bars, enough=tuning.enough) if gradients else None
    return TuningShown(tuning.sentence, blocks, tuning.base.last.head.value, depths.sentence, picture)


def _spot(one: ScoredBase, advice: Advice, points: Sequence[Point]) -> Spot:
    head = one.last.head
    return Spot(
        name=one.uri.partition(":")[2],
        milliseconds=1000 / one.seen.rows_per_second,
        value=head.value,
        low=head.low,
        high=head.high,
        trained=[point.value for point in points if point.uri == one.uri],
        advised=one is advice.advised,
    )
