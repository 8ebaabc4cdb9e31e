"""The vectors that base models give of the accepted rows, at several depths, from one pass that later runs reuse."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftline.settings import Settings
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData, read_split
from graftline.tasks.steps.adapting import BaseOnRows, base_on_rows
from graftline.tasks.steps.untouched_base import frozen_rate
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from graftline.frozen.freezing import FreezePoint
    from graftline.models.outputs import Outputs

# Rows that are timed: some batches of them.
TIMED_ROWS = 64

logger = logging.getLogger("graftline.rank")


@dataclass(frozen=True)
class Depth:
    """What a base model says of the rows at one depth."""

    name: str
    """For a reader: `head`, or `block 3 of 6`."""
    block: str | None
    """The name of that block; None: the vector that the head reads."""
    vectors: "Mapping[str, Tensor]"
    """By split: (rows, width)."""


@dataclass(frozen=True)
class SeenBase:
    """A base model and what it says of the training and validation rows; the head's depth is the last."""

    base: BaseModel
    outputs: "Outputs"
    targets: "Mapping[str, Tensor]"
    """By split, as they are read."""
    learned: "Mapping[str, Tensor]"
    """By split, as a head learns them."""
    parameters: int
    rows_per_second: float
    """Through the frozen part, on this machine."""
    depths: tuple[Depth, ...]


def see(workspace: Workspace, settings: Settings, data: ValidatedData, base: BaseModel) -> SeenBase:
    """Run the rows through the base model once, unless what it gives is kept already. No held-out row is read.

    The vectors in front of the head lie where a run with `feature_extraction` finds them.
    """
    there = base_on_rows(workspace, settings.adaptation, data, base)
    return SeenBase(
        base=base,
        outputs=there.model.outputs,
        targets=there.targets,
        learned={split: rows.targets for split, rows in there.rows.items()},
        parameters=sum(tensor.numel() for tensor in there.model.backbone.parameters()),
        depths=_depths(settings, there),
        rows_per_second=frozen_rate(workspace, settings, base, _timed(data)),
    )


def _depths(settings: Settings, there: BaseOnRows) -> tuple[Depth, ...]:
    import torch

    from graftline.compute.device import gpu_faults_told, prepare
    from graftline.errors import GraftlineError
    from graftline.frozen.depths import looked_at
    from graftline.frozen.freezing import freeze
    from graftline.models.parts import HEAD

    device = torch.device(settings.adaptation.device)
    prepare(device)
    with gpu_faults_told():
        there.model.to(device)
        train = there.rows["train"]
        point = freeze(there.model, "feature_extraction", None, example=train.batch(range(min(2, len(train.encoded)))))
        # OpenVINO shows nothing but the end of what it computes.
        blocks = looked_at(point.frozen_blocks) if settings.adaptation.runs_with == "torch" else ()
        vectors = _vectors(settings, there, point, (*blocks, HEAD))
    if odd := int((~vectors[HEAD].isfinite().all(-1)).sum()):
        raise GraftlineError(
            f"the base model gives numbers that are not finite for {odd} of {len(vectors[HEAD])} rows, so it cannot be"
            " ranked; take it out of base_models, or remove rows with extreme content"
        )
    first = len(train.encoded)
    order = point.frozen_blocks
    return tuple(
        Depth(
            "head" if depth == HEAD else f"block {order.index(depth) + 1} of {len(order)}",
            None if depth == HEAD else depth,
            {"train": all_rows[:first], "validation": all_rows[first:]},
        )
        for depth in (*blocks, HEAD)
        if (all_rows := vectors[depth]).isfinite().all()
    )


def _vectors(
    settings: Settings, there: BaseOnRows, point: "FreezePoint", depths: tuple[str, ...]
) -> "dict[str, Tensor]":
    """For each depth, of training and validation rows in this order: (rows, width)."""
    from graftline.frozen.depths import fill_depths, place_of, run_through_depths
    from graftline.frozen.keys import row_keys
    from graftline.frozen.rows import joined
    from graftline.frozen.store import FeatureStoreFullError

    chosen = settings.adaptation
    rows = joined([there.rows[split] for split in ("train", "validation")])
    keys = row_keys(rows)
    try:
        with ExitStack() as opened:
            stores = {depth: opened.enter_context(there.stores(place_of(point, depth))) for depth in depths}
            ran = fill_depths(
                stores, there.model, point, rows, keys, precision=chosen.precision, runtime=chosen.runs_with
            )
            logger.info("frozen part: ran once for %d rows, %d were kept", ran, len(keys) - ran)
            return {depth: store.batch(keys).float() for depth, store in stores.items()}
    except FeatureStoreFullError as error:
        logger.info("%s; the frozen part runs once, into memory", error)
    return run_through_depths(there.model, point, rows, depths, precision=chosen.precision, runtime=chosen.runs_with)


def _timed(data: ValidatedData) -> list[str]:
    inputs = read_split(data, "train", ["input"])["input"]
    return inputs[:: max(1, len(inputs) // TIMED_ROWS)][:TIMED_ROWS]
