"""`graftline rank`: which base model, and from where on, before anything is trained."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.evaluation.scoring import spelt
from graftline.flows.columns import in_columns
from graftline.flows.console import plain_progress
from graftline.flows.torch_instead import torch_instead
from graftline.settings import RANKED, Settings
from graftline.tasks.base_models.locking import lock_model, locked_uris
from graftline.tasks.base_models.ranked import keep_ranking
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.data.in_use import data_in_use
from graftline.tasks.ranking.advice import Advice, advise
from graftline.tasks.ranking.depths import DepthCheck, check_depths, require_depths, train_at_depths
from graftline.tasks.ranking.page import write_page
from graftline.tasks.ranking.points import Point, agreements, are_the_head, points_of, verify
from graftline.tasks.ranking.scores import NOT_OF, SCORES, DepthScores, RankedOn, ScoredBase, ScoreName, see_and_score
from graftline.tasks.ranking.tuning import Tuning, setting_of, tune_from
from graftline.tasks.step_uses import noting_uses
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workers.fanout import Needs, fanned_out, settled, workers
from graftline.tasks.workspace import Workspace
from graftline.transfer.agreement import Agreement

COLUMNS = ("base model", "depth", "licence", "parameters", "rows/s")
BLOCK_COLUMNS = ("block", "relative gradient norm", "advice", "tuned from here on")


@plain_progress()
@torch_instead()
def rank(
    root: Path, settings: Settings, *, verified: int = 0, depths: bool = False, say: Callable[[str], None]
) -> dict[str, JsonValue]:
    """Compare the base models that the settings name on the training and validation rows.

    A plain function: it registers nothing, and a flow would start a server for it. It locks and fetches what is
    missing, and keeps what frozen parts give where later runs find it. So many base models as are to be `verified` are
    fine-tuned as the settings say, to see whether the scores foretell anything; the advised one at several `depths`, to
    see whether the block from which on to tune it is the right one.
    Raises: SettingsError if there is nothing to compare, or the strategy has no depth; what `lock`, `fetch_model` and
    `validate_data` raise.
    """
    if depths:
        require_depths(settings)
    workspace, uris = Workspace(root), _named(settings)
    # PyTorch looks between the blocks where the runtime is left open; what is trained has the one that a run comes to.
    asked, settings = settings, _named_runtime(settings)
    with noting_uses(workspace, settings.registry.model), data_in_use(workspace), fanned_out(workspace):
        data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data)).alone
        scored = _scored(workspace, settings, data, [_fetched(workspace, uri, say) for uri in uris], say)
        if verified:
            verify(workspace, asked, data, scored, verified, say=say)
        if depths:
            advised = _judged(workspace, settings, data, scored)[2].advised
            train_at_depths(workspace, asked, data, tune_from(workspace, settings, data, advised), say=say)
        points, checked, advice = _judged(workspace, settings, data, scored)
        say(f"looking for the block from which on to tune {advice.advised.uri}")
        tuning = tune_from(workspace, settings, data, advice.advised)
        at_depths = check_depths(tuning, points)
    found = {**_result(data, scored, advice, points, checked), "tuning": _tuning(settings, tuning, at_depths)}
    keep_ranking(workspace, settings, data.data.version, found)
    page = write_page(workspace, data, scored, advice, points, checked, tuning, at_depths)
    said = [_summary(data, scored, advice), _summary_of_blocks(tuning, at_depths), f"page: {page}"]
    return {**found, "page": str(page), "summary": "\n\n".join(said)}


def _named_runtime(settings: Settings) -> Settings:
    named = settings.adaptation.model_copy(update={"runtime": settings.adaptation.runs_with})
    return settings.model_copy(update={"adaptation": named})


def _named(settings: Settings) -> list[str]:
    """The base models to compare, that of the settings first."""
    present = settings.base_model.uri
    uris = list(dict.fromkeys([*([] if present == RANKED else [present]), *settings.base_models]))
    if len(uris) < 2:
        raise SettingsError(
            f"base_models: names {', '.join(settings.base_models) or 'none'}, expected base models to compare with"
            f" base_model.uri {present}; `graftline models` lists those that are locked or installed"
        )
    return uris


def _fetched(workspace: Workspace, uri: str, say: Callable[[str], None]) -> BaseModel:
    if uri not in locked_uris(workspace):
        locked = lock_model(workspace, uri)
        say(f"locked {uri} at {locked.revision}, licence {locked.licence}; review and commit base_models.lock")
    return fetch_model.fn(workspace, uri)


def _scored(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    bases: Sequence[BaseModel],
    say: Callable[[str], None],
) -> list[ScoredBase]:
    """Each by itself, so at once where there are workers for it."""

    def begun() -> Iterator[BaseModel]:
        for base in bases:
            say(f"ranking {base.uri}")
            yield base

    chosen = settled(settings.adaptation)
    on = RankedOn(workspace, settings.model_copy(update={"adaptation": chosen}), data)
    return list(workers().map(see_and_score, on, begun(), Needs.of(chosen, workspace)))


def _judged(
    workspace: Workspace, settings: Settings, data: ValidatedData, scored: Sequence[ScoredBase]
) -> tuple[list[Point], dict[ScoreName, Agreement], Advice]:
    """What fine-tunings there are by now, what they say of the scores, and the advice that follows."""
    points = points_of(workspace, settings, data, scored)
    checked = agreements(scored, points)
    return points, checked, advise(settings, data, scored, checked, are_the_head(scored, points))


def _result(
    data: ValidatedData,
    scored: Sequence[ScoredBase],
    advice: Advice,
    points: Sequence[Point],
    checked: Mapping[ScoreName, Agreement],
) -> dict[str, JsonValue]:
    return {
        "rows": {split: data.split_rows[split] for split in ("train", "validation")},
        "score": advice.score,
        "models": [_model(one) for one in scored],
        "not_asked": {str(name): why for name, why in NOT_OF.get(data.task, {}).items()},
        "fine_tunings": [
            {"uri": one.uri, "strategy": one.strategy, "freeze_until": one.freeze_until, "value": one.value}
            for one in points
        ],
        "agreement": {
            str(name): {**asdict(one), "means_something": one.means_something} for name, one in checked.items()
        },
        "decided_by": advice.decided_by,
        "advised": advice.advised.uri,
        "advised_sha256": advice.advised.seen.base.digest,
        "advice": advice.sentence,
    }


def _model(one: ScoredBase) -> JsonValue:
    base = one.seen.base
    return {
        "uri": base.uri,
        "base_model_sha256": base.digest,
        "licence": base.licence,
        "bytes": base.bytes,
        "parameters": one.seen.parameters,
        "rows_per_second": round(one.seen.rows_per_second, 1),
        "depths": [_depth(depth) for depth in one.depths],
    }


def _depth(one: DepthScores) -> JsonValue:
    others: dict[str, JsonValue] = {str(name): value for name, value in one.others.items()}
    return {"depth": one.depth, "block": one.block, "head": {**one.head.as_json()}, **others}


def _tuning(settings: Settings, tuning: Tuning, depths: DepthCheck) -> JsonValue:
    """What is advised, why, and what fine-tunings say of it."""
    setting = {} if tuning.first is None else setting_of(settings.adaptation, tuning.first)
    return {
        "uri": tuning.base.uri,
        "blocks": [
            {
                "block": one.block,
                "relative_gradient_norm": {"value": one.value, "low": one.low, "high": one.high},
                "tuned": tuning.tunes(place),
                "came_to": depths.came.get(place),
            }
            for place, one in enumerate(tuning.gradients)
        ],
        "first": tuning.first,
        **setting,
        "advice": tuning.sentence,
        "verdict": depths.verdict,
        "checked": depths.sentence,
    }


def _summary_of_blocks(tuning: Tuning, depths: DepthCheck) -> str:
    if not tuning.gradients:
        return tuning.sentence
    lines = [
        (
            one.block,
            f"{one.value:.2g} ({one.low:.2g} to {one.high:.2g})",
            "tune" if tuning.tunes(place) else "freeze",
            f"{depths.came[place]:.4f}" if place in depths.came else "-",
        )
        for place, one in enumerate(tuning.gradients)
    ]
    return "\n".join([in_columns(BLOCK_COLUMNS, lines), "", f"{tuning.sentence}; {depths.sentence}"])


def _summary(data: ValidatedData, scored: Sequence[ScoredBase], advice: Advice) -> str:
    names = [name for name in SCORES if name not in NOT_OF.get(data.task, {})]
    header = (*COLUMNS, f"{spelt(advice.score)} of solved head", *(SCORES[name] for name in names if name != "head"))
    lines = [_line(one, depth, place == 0) for one in scored for place, depth in enumerate(reversed(one.depths))]
    return "\n".join([in_columns(header, lines), "", advice.sentence])


def _line(one: ScoredBase, depth: DepthScores, first: bool) -> tuple[str, ...]:
    seen, head = one.seen, depth.head
    about = (one.uri, seen.base.licence, f"{seen.parameters / 1e6:.1f} M", f"{seen.rows_per_second:,.0f}")
    uri, licence, parameters, rate = about if first else ("",) * len(about)
    others = (f"{value:.4f}" for value in depth.others.values())
    return (
        uri,
        depth.depth,
        licence,
        parameters,
        rate,
        f"{head.value:.4f} ({head.low:.4f} to {head.high:.4f})",
        *others,
    )
