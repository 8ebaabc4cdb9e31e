"""From which block on to tune a base model, by the gradients that its blocks get of the training rows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftline.settings import Settings
from graftline.settings.adaptation import FREEZE_UNTIL, AdaptationSettings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.ranking.scores import ScoredBase
from graftline.tasks.steps.adapting import BaseOnRows, base_on_rows
from graftline.tasks.steps.solved_head import solved_head, training_objective
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.transfer.gradients import BlockGradient

# Those that tune all behind a freeze point, from a head with random weights.
FROM_RANDOM_HEAD = ("partial", "fine_tuning")


@dataclass(frozen=True)
class Tuning:
    """What the gradients of a base model's blocks say."""

    base: ScoredBase
    gradients: "tuple[BlockGradient, ...]"
    """Of its blocks, in the order in which they run; none if it has no list of blocks, or these say nothing."""
    first: int | None
    """The place of the first block to tune, from 0; None if there are no gradients."""
    sentence: str

    @property
    def enough(self) -> float:
        """The relative norm from which on a block is worth tuning."""
        from graftline.transfer.gradients import ENOUGH

        return ENOUGH * max((one.value for one in self.gradients), default=0.0)

    def tunes(self, place: int) -> bool:
        """Whether the block at this place lies behind the advised freeze point."""
        return self.first is not None and place >= self.first


def tune_from(workspace: Workspace, settings: Settings, data: ValidatedData, base: ScoredBase) -> Tuning:
    """Ask the training rows, with the head in place that `feature_extraction` solves from them."""
    from graftline.transfer.gradients import first_to_tune

    gradients = _gradients(workspace, settings, data, base)
    first = first_to_tune(gradients)
    if first is None:
        why = (
            "with the solved head in place its gradients are 0 or no finite numbers"
            if gradients
            else "no list of blocks was found in it; name them with adaptation.block_pattern"
        )
        return Tuning(base, (), None, f"from which block on to tune {base.uri} cannot be said: {why}")
    return Tuning(base, gradients, first, _sentence(settings.adaptation, base.uri, gradients, first))


def setting_of(chosen: AdaptationSettings, first: int) -> dict[str, str | None]:
    """The settings that tune the block at this place and all behind it, or everything if it is the first of all.

    As close to the `chosen` ones as can be: strategies that have no freeze point give way.
    """
    until = str(first) if first else None
    if chosen.strategy != "auto" and FREEZE_UNTIL[chosen.strategy] == "possible":
        return {"strategy": chosen.strategy, "freeze_until": until}
    if chosen.strategy in FROM_RANDOM_HEAD or chosen.head != "linear":
        return {"strategy": "partial" if first else "fine_tuning", "freeze_until": until}
    return {"strategy": "probe_then_fine_tune", "freeze_until": until}


def _gradients(
    workspace: Workspace, settings: Settings, data: ValidatedData, base: ScoredBase
) -> "tuple[BlockGradient, ...]":
    import torch

    from graftline.compute.device import gpu_faults_told, prepare
    from graftline.transfer.gradients import block_gradients

    # A solved head is linear.
    chosen = settings.adaptation.model_copy(update={"head": "linear"})
    there = base_on_rows(workspace, chosen, data, base.seen.base)
    rows, model = there.rows["train"], there.model
    head = solved_head(settings, data, model.outputs, base.seen.depths[-1].vectors, base.seen.learned)
    with torch.no_grad():
        model.output_layer.weight.copy_(head.weight)
        model.output_layer.bias.copy_(head.bias)
    device = torch.device(chosen.device)
    prepare(device)
    with gpu_faults_told():
        model.to(device)
        return block_gradients(
            model,
            rows,
            training_objective(settings, data, model.outputs, rows.targets),
            _blocks(there),
            batch_size=chosen.batch_size,
            seed=chosen.seed,
            precision=chosen.precision,
        )


def _blocks(there: BaseOnRows) -> tuple[str, ...]:
    """In the order in which they run; none where a freeze point cannot name one."""
    from graftline.frozen.freezing import freeze

    train = there.rows["train"]
    point = freeze(there.model, "feature_extraction", None, example=train.batch(range(min(2, len(train.encoded)))))
    return point.frozen_blocks if len(point.frozen_blocks) > 1 else ()


def _sentence(chosen: AdaptationSettings, uri: str, gradients: "tuple[BlockGradient, ...]", first: int) -> str:
    largest = max(one.value for one in gradients)
    settings = setting_of(chosen, first)
    said = f"adaptation.strategy {settings['strategy']}, adaptation.freeze_until {settings['freeze_until'] or 'empty'}"
    norm = f"relative gradient norm ({gradients[first].value:.2g}) is at least half of the largest ({largest:.2g})"
    if not first:
        return f"tune all of {uri} ({said}): already its first block's {norm}"
    return f"tune {uri} from block {first + 1} of {len(gradients)} on ({said}): the first whose {norm}"
