"""Linear probes: what a solved head reads from vectors that it did not shape."""

from collections.abc import Mapping

import torch
from torch import Tensor

from graftline.linear_head import solve_head
from graftline.metrics import Floats
from graftline.objective import OneLabel
from graftline.splitting import Split


def probe_answers(vectors: Mapping[Split, Tensor], targets: Mapping[Split, Tensor], *, labels: int) -> Floats:
    """What a linear head says of the test rows: probabilities (rows, labels).

    It is solved on the training rows' `vectors` (rows, width) and `targets` (rows,), with the penalty that does best on
    the validation rows, so that each model is probed at its best without the test rows having a say.
    """
    objective = OneLabel()
    head = solve_head(
        vectors["train"], targets["train"], validation=(vectors["validation"], targets["validation"]), outputs=labels,
        loss_of=objective.loss, validation_loss_of=objective.validation_loss,
    )  # fmt: skip
    logits = vectors["test"].double() @ head.weight.double().T + head.bias.double()
    answers: Floats = torch.softmax(logits, dim=1).numpy()
    return answers
