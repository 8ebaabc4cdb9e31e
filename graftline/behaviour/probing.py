"""Linear probes: what a solved head reads from vectors that it did not shape."""

from collections.abc import Mapping

import torch
from torch import Tensor

from graftline.data.splitting import Split
from graftline.evaluation.metrics import Floats
from graftline.training.linear_head import solve_head
from graftline.training.single_label import OneLabel


def probe_answers(vectors: Mapping[Split, Tensor], targets: Mapping[Split, Tensor], *, labels: int) -> Floats:
    """A linear head's probabilities for the test rows: (rows, labels).

    It is solved on the training rows' `vectors` (rows, width) and `targets` (rows,), with the penalty that does best on
    the validation rows, so that each model is probed at its best without the test rows having a say.
    """
    head = solve_head(
        vectors["train"],
        targets["train"],
        validation=(vectors["validation"], targets["validation"]),
        outputs=labels,
        objective=OneLabel(),
    )
    logits = vectors["test"].double() @ head.weight.double().T + head.bias.double()
    answers: Floats = torch.softmax(logits, dim=1).numpy()
    return answers
