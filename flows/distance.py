"""`graftline distance`: how far from home rows are, before anything is trained."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.flows.columns import in_columns
from graftline.flows.console import plain_progress
from graftline.flows.torch_instead import torch_instead
from graftline.pages.text import visible
from graftline.settings import Settings
from graftline.tasks.base_models.ranked import with_ranked
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.data.in_use import data_in_use
from graftline.tasks.distances.page import write_page
from graftline.tasks.distances.past_rows import rows_of_commit
from graftline.tasks.distances.served import served_beside_held_out
from graftline.tasks.step_uses import noting_uses
from graftline.tasks.steps.choose_runtime import with_chosen_runtime
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.distances import Asked, asked_of_line, compare, rows_to_learn_from
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.source_task import source_task
from graftline.tasks.steps.target_domain import target_domain
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from graftline.transfer.distances import MEASURES
from graftline.transfer.pairs import Pair
from graftline.wording import shortened

COLUMNS = ("what", "beside", "rows", "told apart")
CELL_CHARACTERS = 40


@plain_progress()
@torch_instead()
def distance(
    root: Path,
    settings: Settings,
    *,
    since: str | None = None,
    served: bool = False,
    say: Callable[[str], None],
) -> dict[str, JsonValue]:
    """Measure how far the rows of `evaluation.probe`, `data.target_domain` and each slice lie from the others.

    Also those of the data of another commit, `since`, and what the champion answered, if it is asked for what was
    `served`. A plain function: it trains and registers nothing.
    Raises: SettingsError if there is nothing to compare with; what the steps, `rows_of_commit` and
    `served_beside_held_out` raise.
    """
    workspace = Workspace(root)
    settings = with_ranked(workspace, settings)
    with noting_uses(workspace, settings.registry.model), data_in_use(workspace):
        data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
        base = fetch_model.fn(workspace, settings.base_model.uri)
        settings = with_chosen_runtime(workspace, settings, data, base)
        pairs, too_few = _of_rows(workspace, settings, data, base, since, say)
        if served:
            say("comparing what was served with the held-out rows")
            pairs = (*pairs, served_beside_held_out(workspace, settings))
    if not (pairs or too_few):
        raise SettingsError(
            "there is nothing to compare the rows with: evaluation.probe, data.target_domain and data.slices name none;"
            " name rows or columns there, or ask with --since COMMIT or --served"
        )
    page = write_page(workspace, data, base.uri, pairs, too_few)
    return {
        "data_version": data.data.version,
        "base_model": base.uri,
        "base_model_sha256": base.digest,
        "pairs": [_as_json(pair) for pair in pairs],
        "too_few": list(too_few),
        "page": str(page),
        "summary": _summary(pairs, too_few, page),
    }


def _of_rows(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    base: BaseModel,
    since: str | None,
    say: Callable[[str], None],
) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """The pairs of rows that the base model is to read, and why some are left out."""
    with ExitStack() as laid_out:
        domain = target_domain.fn(workspace, settings.data, data)
        asked = asked_of_line(workspace, settings, data, source_task.fn(workspace, settings, base), domain)
        if since is not None:
            say(f"bringing the data of {since}")
            past = laid_out.enter_context(rows_of_commit(workspace, settings, data, since))
            asked.append(Asked("data version", past, rows_to_learn_from(workspace, data)))
        too_few = tuple(one.too_few for one in asked if one.too_few)
        for one in asked:
            if not one.too_few:
                say(f"comparing {one.target.name} with {one.source.name}")
        return compare(workspace, settings, base, asked, kind=data.kind, sample_bits=data.sample_bits), too_few


def _as_json(pair: Pair) -> JsonValue:
    found = pair.distances
    measures: dict[str, JsonValue] = {
        str(name): {
            "value": one.value, "usual_low": one.usual_low, "usual_high": one.usual_high, "p": one.p,
        } for name, one in found.of.items()
    }  # fmt: skip
    return {
        "about": pair.about,
        "source": pair.source,
        "target": pair.target,
        "source_rows": found.source_rows,
        "target_rows": found.target_rows,
        "differ": found.differ,
        "told_apart": found.told_apart,
        **measures,
        "advice": pair.advice,
    }


def _summary(pairs: Sequence[Pair], too_few: Sequence[str], page: Path) -> str:
    header = (*COLUMNS, *(f"{name} (usual up to)" for name in MEASURES.values()))
    table = [in_columns(header, [_line(pair) for pair in pairs]), ""] if pairs else []
    return "\n".join([*table, *(visible(pair.advice) for pair in pairs), *map(visible, too_few), "", f"page: {page}"])


def _line(pair: Pair) -> tuple[str, ...]:
    found = pair.distances
    values = (f"{one.value:.4f} ({one.usual_high:.4f}){' *' if one.is_alarm else ''}" for one in found.of.values())
    names = (visible(shortened(name, CELL_CHARACTERS)) for name in (pair.target, pair.source))
    return (*names, f"{found.target_rows} + {found.source_rows}", f"{found.told_apart:.1%}", *values)
