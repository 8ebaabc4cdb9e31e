"""A part of step 4: all models on the labelled rows of the target domain, scored and paired as on the held-out ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import ValidatedData, raw_inputs, read_split, split_targets
from graftline.tasks.steps.adapting import MODEL
from graftline.tasks.steps.baselines import FROZEN_HEAD, MAJORITY, Baselines
from graftline.tasks.steps.champion import Champion, champions_predictions
from graftline.tasks.steps.fine_tune import Checkpoint
from graftline.tasks.steps.held_out import Scorer, held_out_groups
from graftline.tasks.steps.target_rows import TargetRows
from graftline.tasks.workspace import Workspace
from graftline.verdict.domain_axes import PLAIN

if TYPE_CHECKING:
    from graftline.evaluation.comparison import Comparison
    from graftline.evaluation.metrics import Floats
    from graftline.evaluation.row_gains import RowGains

AGAINST_PLAIN = "the same training without a way into the target domain"


@dataclass(frozen=True)
class OnTarget:
    """What the labelled rows of the target domain say of a candidate."""

    rows: int
    groups: int | None
    scores: Mapping[str, Mapping[str, float]]
    """Of each score `value`, `low` and `high`."""
    comparison: "Comparison | None"
    """The candidate beside the champion, paired on rows."""
    row_gains: "RowGains | None"
    rivals: "Mapping[str, Comparison]"
    """The candidate beside the baselines, plain training among them where it is not that itself."""
    obstacle: str | None
    """Why the champion could not be scored there, if so."""


def scored_on_target(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    rows: TargetRows,
    plain: Checkpoint | None,
    checkpoint: Checkpoint,
    baselines: Baselines,
    champion: Champion | None,
) -> JsonValue:
    """The numbers that `on_target_of` reads."""
    judging = rows.rows
    names, targets = read_split(judging, "test", ["row_id"])["row_id"], split_targets(judging, "test").numpy()
    groups = held_out_groups(judging, settings.data.group)
    scores = Scorer(TASKS[data.task].scores, targets, settings.evaluation, (), groups)
    ours = _predicted(workspace, judging, checkpoint.model)
    theirs, obstacle = champions_predictions(workspace, settings, judging, champion)
    named = f"champion version {champion.version}" if champion else ""
    rivals = _rivals(workspace, data, judging, plain, baselines)
    return {
        "rows": len(targets),
        "groups": None if groups is None else len(set(groups)),
        "scores": scores.of(ours),
        "comparison": None if theirs is None else scores.compare(ours, theirs, named),
        "row_gains": None if theirs is None else scores.row_gains(names, ours, theirs),
        "rivals": {name: scores.compare(ours, said, against) for name, (against, said) in rivals.items()},
        "obstacle": obstacle,
    }


def _rivals(
    workspace: Workspace, data: ValidatedData, judging: ValidatedData, plain: Checkpoint | None, baselines: Baselines
) -> "dict[str, tuple[str, Floats]]":
    """The baselines that answer for other rows, too, each with its name for a reader."""
    held_out = len(split_targets(judging, "test"))
    learned = split_targets(data, "train").numpy()
    _, always = TASKS[data.task].scores.without_model(learned, held_out, data.labels)
    found = {MAJORITY: (baselines.rivals[MAJORITY].against, always)}
    rival = baselines.rivals.get(FROZEN_HEAD)
    if rival is not None:
        found[FROZEN_HEAD] = (rival.against, _predicted(workspace, judging, rival.folder.path / MODEL))
    if plain is not None:
        found[PLAIN] = (AGAINST_PLAIN, _predicted(workspace, judging, plain.model))
    return found


def _predicted(workspace: Workspace, judging: ValidatedData, model: Path) -> "Floats":
    from graftline.answers.predicting import predictor_of

    return predictor_of(model).predict(raw_inputs(workspace, judging, "test"))


def on_target_of(plain: JsonValue) -> OnTarget | None:
    """The numbers from plain values; None where no rows were named."""
    from graftline.evaluation.comparison import comparison_of
    from graftline.evaluation.row_gains import row_gains_of

    if plain is None:
        return None
    values = cast("dict[str, JsonValue]", plain)
    rivals = cast("dict[str, JsonValue]", values["rivals"])
    return OnTarget(
        rows=cast("int", values["rows"]),
        groups=cast("int | None", values["groups"]),
        scores=cast("Mapping[str, Mapping[str, float]]", values["scores"]),
        comparison=comparison_of(values["comparison"]) if values["comparison"] else None,
        row_gains=row_gains_of(values["row_gains"]) if values["row_gains"] else None,
        rivals={name: comparison_of(rival) for name, rival in rivals.items()},
        obstacle=cast("str | None", values["obstacle"]),
    )
