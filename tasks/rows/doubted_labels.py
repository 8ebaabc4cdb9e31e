"""The labels of the accepted rows that look wrong, found on what the untouched base model gives to a head."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from pydantic import JsonValue

from graftline.answers.tasks import TASKS
from graftline.compute.threads import thread_count
from graftline.data.splitting import SPLITS, TWIN, Side
from graftline.data.targets import target_of
from graftline.digests import file_sha256
from graftline.errors import SettingsError
from graftline.files import write_json
from graftline.settings import Settings, Task
from graftline.settings.by_value import by_value
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import (
    ACCEPTED,
    GROUP,
    ValidatedData,
    read_split,
    split_targets,
)
from graftline.tasks.progress import Wait
from graftline.tasks.rows.standing_labels import LookedAt, input_digest
from graftline.tasks.step_folders import StepFolder, finished, produce
from graftline.tasks.steps.baseline_settings import frozen_head_settings
from graftline.tasks.steps.feature_stores import libraries_for
from graftline.tasks.steps.fine_tune import LIBRARIES
from graftline.tasks.steps.untouched_base import head_features
from graftline.tasks.steps.validation_files import TWINS
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.evaluation.metrics import Integers

STEP = "doubted_labels"
FOUND = "doubts.json"


@dataclass(frozen=True)
class LabelledRow:
    """An accepted row."""

    row: str
    line: int
    side: Side
    target: str
    holds: str
    """The text, or the name of the file."""
    digest: str
    cluster: int
    """Rows of one cluster are one observation: of one group, of one input, or twins."""


@dataclass(frozen=True)
class Doubt:
    """A row whose label looks wrong."""

    row: LabelledRow
    likely: str
    given_probability: float
    likely_probability: float


@dataclass(frozen=True)
class DoubtedLabels:
    """What was found, the surest first, and of how many rows."""

    rows: tuple[LabelledRow, ...]
    doubts: tuple[Doubt, ...]
    not_judged: int
    """Rows with a label that no row beside their own cluster has."""
    planted: int
    """Labels that were changed on purpose."""
    planted_found: int
    standing: int
    """Doubts that are left out, for a person let the label stand."""
    looked: LookedAt


def require_labels(task: Task) -> None:
    """Raises: SettingsError for numbers, of which none is the likely one."""
    if task == "regression":
        raise SettingsError(
            "data.task regression: `graftline labels` does not apply to numbers, expected single_label or multi_label;"
            " the report's examples show the rows with the largest errors"
        )


def doubted_labels(
    workspace: Workspace, settings: Settings, data: ValidatedData, base: BaseModel, looked: LookedAt
) -> DoubtedLabels:
    """The doubts about the labels of all accepted rows, without those that a person let stand."""
    folder = produce(
        workspace,
        STEP,
        **_made_of(settings, data, base),
        build=lambda folder: _build(folder, workspace, settings, data, base),
    )
    return _record(folder, data, looked)


def doubts_at_hand(
    workspace: Workspace, settings: Settings, data: ValidatedData, base: BaseModel, looked: LookedAt
) -> DoubtedLabels | None:
    """The same, if somebody has looked for them in these rows with this base model; None otherwise."""
    folder = finished(workspace, STEP, **_made_of(settings, data, base))
    return None if folder is None else _record(folder, data, looked)


def _record(folder: StepFolder, data: ValidatedData, looked: LookedAt) -> DoubtedLabels:
    found = cast("dict[str, Any]", folder.read_json(FOUND))
    rows = labelled_rows(data)
    doubts = [
        Doubt(rows[one["place"]], one["likely"], one["given_probability"], one["likely_probability"])
        for one in found["doubts"]
    ]
    left = tuple(one for one in doubts if (one.row.digest, one.row.target) not in looked.standing)
    return DoubtedLabels(
        rows,
        left,
        found["not_judged"],
        found["planted"],
        found["planted_found"],
        len(doubts) - len(left),
        looked,
    )


def labelled_rows(data: ValidatedData) -> tuple[LabelledRow, ...]:
    """The accepted rows, side by side, twins last."""
    of_side = {side: read_split(data, side, _columns(data)) for side in (*SPLITS, TWIN)}
    sides = [side for side, rows in of_side.items() for _ in rows["row_id"]]
    columns = {name: [one for rows in of_side.values() for one in rows[name]] for name in _columns(data)}
    digests = columns.get("input_sha256") or [input_digest(text) for text in columns["input"]]
    clusters = _clusters(data, columns, digests)
    told = zip(columns["row_id"], columns["line"], columns["target"], columns["input"], strict=True)
    return tuple(
        LabelledRow(row, int(line), side, target, holds, digest, int(cluster))
        for (row, line, target, holds), side, digest, cluster in zip(told, sides, digests, clusters, strict=True)
    )


def _columns(data: ValidatedData) -> list[str]:
    from pyarrow import parquet

    there = set(parquet.read_schema(data.folder.path / ACCEPTED).names)
    return [
        name for name in ("row_id", "line", "target", "input", "input_sha256", GROUP) if name in there
    ]  # fmt: skip


def _clusters(data: ValidatedData, columns: dict[str, list[str]], digests: Sequence[str]) -> "Integers":
    from graftline.transfer.wrong_labels import clusters_of

    sets = defaultdict[tuple[str, str], list[int]](list)
    for place, digest in enumerate(digests):
        sets["input", digest].append(place)
    for place, group in enumerate(columns.get(GROUP, [])):
        sets[GROUP, group].append(place)
    place_of = {line: place for place, line in enumerate(columns["line"])}
    twins = [json.loads(line) for line in (data.folder.path / TWINS).read_text(encoding="utf-8").splitlines()]
    pairs = [(one["twin_line"], one["line"]) for one in twins]
    both = [[place_of[one], place_of[other]] for one, other in pairs if {one, other} <= place_of.keys()]
    return clusters_of(len(digests), [*sets.values(), *both])


class _MadeOf(TypedDict):
    depends_on: dict[str, JsonValue]
    code: tuple[str, ...]
    libraries: tuple[str, ...]


def _made_of(settings: Settings, data: ValidatedData, base: BaseModel) -> _MadeOf:
    frozen, task = frozen_head_settings(settings), TASKS[data.task]
    return {
        "depends_on": {
            "data": data.sha256,
            "twins": file_sha256(data.folder.path / TWINS),
            "base_model": base.digest,
            "settings": by_value(frozen, "adaptation", without=["threads", "feature_gigabytes"]),
            "threads": thread_count(frozen.threads),
        },
        "code": (__name__, "graftline.transfer.wrong_labels", *task.modules("outputs", "objective_for")),
        "libraries": (*LIBRARIES, "cleanlab", "scikit-learn", *libraries_for(frozen, data.kind)),
    }


def _build(folder: Path, workspace: Workspace, settings: Settings, data: ValidatedData, base: BaseModel) -> None:
    import numpy as np
    import torch

    from graftline.transfer.wrong_labels import PLANTED_SHARE, doubts_of, folds_of, out_of_fold, planted

    rows, task, seed = labelled_rows(data), TASKS[data.task], settings.evaluation.seed
    sides = list(dict.fromkeys(row.side for row in rows))
    features = head_features(workspace, frozen_head_settings(settings), data, base, sides)
    targets = torch.cat([split_targets(data, side) for side in sides])
    folds = folds_of(np.array([row.cluster for row in rows]), [row.target for row in rows], seed)
    wait = Wait("looking at the labels", unit="folds")
    judge = partial(
        out_of_fold,
        torch.cat([features[side] for side in sides]),
        folds=folds,
        outputs=task.outputs.outputs_for(data.labels, targets),
        kind=task.outputs,
        objective_for=task.objective_for,
        passed=wait.tell,
    )
    said = judge(targets)
    doubts = doubts_of(data.task, targets.numpy(), said)
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(doubts.judged & ~doubts.doubted))
    chosen = chosen[: round(PLANTED_SHARE * len(rows))]
    changed = planted(data.task, targets.numpy(), chosen, seed)
    again = doubts_of(data.task, changed, judge(torch.from_numpy(changed), penalty=said.penalty))
    write_json(
        folder / FOUND,
        {
            "doubts": [
                {
                    "place": int(place),
                    "likely": _written(doubts.likely[place], data),
                    "given_probability": float(doubts.given_probability[place]),
                    "likely_probability": float(doubts.likely_probability[place]),
                }
                for place in doubts.order
            ],
            "not_judged": int((~doubts.judged).sum()),
            "planted": len(chosen),
            "planted_found": int(again.doubted[chosen].sum()),
        },
    )


def _written(target: "Integers", data: ValidatedData) -> str:
    """A target of the model as the data write it."""
    if data.task == "single_label":
        return data.labels[int(target)]
    return target_of(
        sorted(label for label, there in zip(data.labels, target, strict=True) if there), data.label_separator
    )
