"""`graftline plan`: how many held-out rows show which difference, before anything is trained."""

import io
import math
from pathlib import Path

from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.files import write_atomically
from graftline.flows.columns import in_columns
from graftline.settings import Settings
from graftline.tasks.registry.history import read_history
from graftline.tasks.registry.looks import looks_before, past_looks
from graftline.tasks.workspace import Workspace
from graftline.verdict.life import Look
from graftline.verdict.planning import DIFFERENCES, LOOKS, Groups, Need, needs, picture, usual_levels
from graftline.verdict.policy import read_policy

PICTURE = "plan.svg"


def plan(root: Path, settings: Settings, discordance: float | None = None) -> dict[str, JsonValue]:
    """The rows for each difference: at the first look at them, at later ones, and at the present level.

    A plain function: it only reads, and writes one picture.
    Raises: SettingsError if nothing says on which share of the rows two models differ.
    """
    workspace, model = Workspace(root), settings.registry.model
    policy = read_policy(workspace.policy)
    looks = past_looks(looks_before(read_history(workspace, model), None))
    newest = looks[-1] if looks else None
    share = _discordance(discordance, newest, model)
    names = [f"look {look}" for look in LOOKS]
    levels = usual_levels(policy)
    if newest:
        names.append(f"as look {len(looks)}, the newest")
        levels.append(newest.level)
    groups = _groups(newest)
    found = needs(sorted({*DIFFERENCES, policy.wanted_difference}), discordance=share, levels=levels, groups=groups)
    rows = newest.gains.rows if newest else None
    drawn = _draw(workspace, found, names, rows)
    return {
        "model": model,
        "discordance": share,
        "rows": rows,
        "levels": dict(zip(names, levels, strict=True)),
        "needs": [{"difference": need.difference, **dict(zip(names, need.rows, strict=True))} for need in found],
        "groups": {"rows_in_each": groups.size, "design_effect": groups.design_effect} if groups else None,
        "picture": str(drawn),
        "summary": _summary(found, names, share, rows, groups, drawn),
    }


def _groups(newest: Look | None) -> Groups | None:
    """How the newest look's rows came in groups, if they did."""
    if newest is None or (seen := newest.gains.of_groups) is None:
        return None
    return Groups(newest.gains.rows / seen.groups, seen.design_effect)


def _discordance(given: float | None, newest: Look | None, model: str) -> float:
    if given is not None:
        if not 0 < given <= 1:
            raise SettingsError(f"--discordance {given:g}: expected a share above 0, at most 1; such as 0.1")
        return given
    seen = newest.gains.discordance if newest else None
    if not seen:
        raise SettingsError(
            f"{model}: no candidate was compared with a champion yet whose rows are right or wrong, so it is not known"
            " on which share of the rows two of your models differ; name one with --discordance, such as 0.1"
        )
    return seen


def _draw(workspace: Workspace, found: list[Need], names: list[str], rows: int | None) -> Path:
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "graftline"}):
        picture(found, names=names, rows=rows).savefig(content, format="svg", metadata={"Date": None})
    path = workspace.root / "reports" / PICTURE
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, content.getvalue().decode())
    return path


def _summary(
    found: list[Need], names: list[str], share: float, rows: int | None, groups: Groups | None, drawn: Path
) -> str:
    def told(count: int) -> str:
        return f"{count:,}" + (f" ({math.ceil(count / groups.size):,} groups)" if groups else "")

    lines = [(f"{need.difference:+g}", *map(told, need.rows)) for need in found]
    return "\n".join(
        [
            f"held-out rows that show a true difference four times out of five, where two models differ on"
            f" {100 * share:.1f} % of the rows:",
            in_columns(("difference", *names), lines),
            *([f"there are {told(rows)} now"] if rows else []),
            *([_alike(groups)] if groups else []),
            f"drawn in {drawn}",
        ]
    )


def _alike(groups: Groups) -> str:
    return (
        f"rows of one group are alike: {groups.design_effect:.2f} times as many are needed as of independent ones, and"
        " somewhat more where these are few groups"
    )
