"""`graftline rank`: which base model, and from where on, before anything is trained."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.evaluation.scoring import spelt
from graftline.flows.columns import in_columns
from graftline.flows.console import plain_progress
from graftline.settings import RANKED, Settings
from graftline.tasks.base_models.locking import lock_model, locked_uris
from graftline.tasks.base_models.ranked import keep_ranking
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.data.in_use import data_in_use
from graftline.tasks.ranking.advice import Advice, advise
from graftline.tasks.ranking.features import see
from graftline.tasks.ranking.page import write_page
from graftline.tasks.ranking.points import Point, agreements, points_of, verify
from graftline.tasks.ranking.scores import NOT_OF, SCORES, DepthScores, ScoredBase, ScoreName, score_base
from graftline.tasks.step_uses import noting_uses
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from graftline.transfer.agreement import Agreement

COLUMNS = ("base model", "depth", "licence", "parameters", "rows/s")


@plain_progress()
def rank(root: Path, settings: Settings, *, verified: int = 0, say: Callable[[str], None]) -> dict[str, JsonValue]:
    """Compare the base models that the settings name on the training and validation rows.

    A plain function: it registers nothing, and a flow would start a server for it. It locks and fetches what is
    missing, and keeps what frozen parts give where later runs find it. So many base models as are to be `verified` are
    fine-tuned as the settings say, to see whether the scores foretell anything.
    Raises: SettingsError if there is nothing to compare; what `lock`, `fetch_model` and `validate_data` raise.
    """
    workspace, uris = Workspace(root), _named(settings)
    with noting_uses(workspace, settings.registry.model), data_in_use(workspace):
        data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data)).alone
        scored = [_scored(workspace, settings, data, uri, say) for uri in uris]
        if verified:
            verify(workspace, settings, data, scored, verified, say=say)
        points = points_of(workspace, settings, data, scored)
        checked = agreements(scored, points)
        advice = advise(settings, data, scored, checked)
    found = _result(data, scored, advice, points, checked)
    keep_ranking(workspace, settings, data.data.version, found)
    page = write_page(workspace, data, scored, advice, points, checked)
    return {**found, "page": str(page), "summary": f"{_summary(data, scored, advice)}\n\npage: {page}"}


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


def _scored(
    workspace: Workspace, settings: Settings, data: ValidatedData, uri: str, say: Callable[[str], None]
) -> ScoredBase:
    if uri not in locked_uris(workspace):
        locked = lock_model(workspace, uri)
        say(f"locked {uri} at {locked.revision}, licence {locked.licence}; review and commit base_models.lock")
    say(f"ranking {uri}")
    return score_base(settings, data, see(workspace, settings, data, fetch_model.fn(workspace, uri)))


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
        "fine_tunings": [{"uri": one.uri, "strategy": one.strategy, "value": one.value} for one in points],
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
