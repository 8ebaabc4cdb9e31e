"""The model's output for rows while it learns, and how good that is."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graftline.compute.device import device_of
from graftline.compute.precision import Precision, autocast
from graftline.models.batching import sorted_batches
from graftline.training.plan import Rows, Training
from graftline.training.together import ALONE, Together


def predict(
    model: nn.Module, rows: Rows, *, batch_size: int, precision: Precision = "float32", together: Together = ALONE
) -> Tensor:
    """The model's output for all rows, in row order: (rows, outputs). Those who train together answer them together."""
    model.eval()

    def answers(batches: Sequence[list[int]]) -> Tensor:
        logits = torch.zeros(0)
        with torch.no_grad(), autocast(precision, device_of(model)):
            for batch in batches:
                output = rows.logits(model, batch).float().cpu()
                if not logits.numel():
                    logits = torch.zeros(len(rows.lengths), output.shape[1])
                logits[batch] = output
        return logits

    return together.gathered(sorted_batches(rows.lengths, batch_size), answers)


def validate(training: Training) -> tuple[float, float]:
    """Loss and score of the validation rows."""
    plan, held = training.plan, training.validation
    outputs = predict(
        training.model, held, batch_size=plan.batch_size, precision=plan.precision, together=training.together
    )
    loss = float(training.objective.validation_loss(outputs, held.targets))
    return loss, training.objective.score(outputs, held.targets)
