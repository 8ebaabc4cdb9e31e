"""A part of step 3: rows learned from with what a teacher says of them, and rows that it alone has answered."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.steps.target_domain import TargetDomain
from graftline.tasks.steps.teacher import UNLABELLED, taught_outputs
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from graftline.frozen.rows import InputRows
    from graftline.models.outputs import Outputs
    from graftline.models.preprocessing import Preprocessor


def taught_rows(
    workspace: Workspace,
    settings: AdaptationSettings,
    data: ValidatedData,
    preprocessor: "Preprocessor",
    outputs: "Outputs",
    rows: "Mapping[str, InputRows]",
    domain: TargetDomain | None,
) -> "dict[str, InputRows]":
    """The rows of each side with the teacher's answers beside their targets, for a model with these outputs.

    Those to learn from are followed by the rows of the target domain, for which there is nothing but these answers.
    """
    import torch

    from graftline.models.encoded_rows import JoinedRows
    from graftline.training.distillation import beside

    said = taught_outputs(workspace, settings, data, outputs, domain)
    taught = {side: replace(of_side, targets=beside(of_side.targets, said[side])) for side, of_side in rows.items()}
    if domain is not None:
        train, more = rows["train"], preprocessor.encode(domain.inputs(workspace))
        taught["train"] = replace(
            train,
            encoded=JoinedRows([train.encoded, more]),
            targets=beside(train.targets, torch.cat([said["train"], said[UNLABELLED]])),
            weights=None if train.weights is None else _with_ones(train.weights, len(more)),
        )
    return taught


def _with_ones(weights: "Tensor", count: int) -> "Tensor":
    """The weights, and those of so many more rows that count as they are."""
    import torch

    return torch.cat([weights, weights.new_ones((count, *weights.shape[1:]))])
