"""The model's output for rows while it learns, and how good that is."""

import torch
from torch import Tensor, nn

from graftline.compute.device import device_of
from graftline.compute.precision import Precision, autocast
from graftline.models.batching import sorted_batches
from graftline.training.plan import Rows, Training


def predict(model: nn.Module, rows: Rows, *, batch_size: int, precision: Precision = "float32") -> Tensor:
    """The model's output for all rows, in row order: (rows, outputs)."""
    model.eval()
    logits = torch.empty(0)
    with torch.no_grad(), autocast(precision, device_of(model)):
        for batch in sorted_batches(rows.lengths, batch_size):
            output = rows.logits(model, batch).float().cpu()
            if not logits.numel():
                logits = torch.empty(len(rows.lengths), output.shape[1])
            logits[batch] = output
    return logits


def validate(training: Training) -> tuple[float, float]:
    """Loss and score of the validation rows."""
    plan, held = training.plan, training.validation
    outputs = predict(training.model, held, batch_size=plan.batch_size, precision=plan.precision)
    loss = float(training.objective.validation_loss(outputs, held.targets))
    return loss, training.objective.score(outputs, held.targets)
