"""What a model says of rows while it learns, and how good that is."""

import torch
from torch import Tensor, nn

from graftline.batching import sorted_batches
from graftline.device import device_of
from graftline.objective import Objective
from graftline.precision import Precision, autocast
from graftline.training_plan import Plan, Rows


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


def validate(model: nn.Module, validation: Rows, objective: Objective, plan: Plan) -> tuple[float, float]:
    """Loss and score of the validation rows."""
    outputs = predict(model, validation, batch_size=plan.batch_size, precision=plan.precision)
    loss = float(objective.validation_loss(outputs, validation.targets))
    return loss, objective.score(outputs, validation.targets)
