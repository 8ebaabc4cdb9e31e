"""Learning what a teacher answers beside the labels (Hinton et al. 2015, arXiv 1503.02531)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graftline.models.outputs import Outputs
from graftline.settings import Task
from graftline.training.objective import Objective, ObjectiveFor

# Both as in DistilBERT (arXiv 1910.01108): above 1 the teacher's less likely answers count for more.
TEMPERATURE = 2.0
TEACHER_SHARE = 0.5


def beside(targets: Tensor, said: Tensor) -> Tensor:
    """Targets as they are learned, with the teacher's outputs for the same rows behind them: (rows, columns).

    `said` are outputs before any temperature, or standardised numbers: (rows, outputs). Where there are more of them
    than targets, the last rows have no label.
    """
    labelled = (targets.unsqueeze(1) if targets.ndim == 1 else targets).float()
    own = torch.full((len(said), labelled.shape[1]), torch.nan)
    own[: len(labelled)] = labelled
    return torch.cat([own, said.float()], dim=1)


def taught(objective_for: ObjectiveFor) -> ObjectiveFor:
    """The objective of a task for targets that `beside` made."""

    def of_rows(
        outputs: Outputs,
        targets: Tensor,
        *,
        balanced: bool = False,
        adjusted: bool = False,
        label_smoothing: float = 0.0,
    ) -> Objective:
        own, _ = _parted(targets, outputs)
        known = own[_is_labelled(targets)]
        plain = objective_for(outputs, known, balanced=balanced, adjusted=adjusted, label_smoothing=label_smoothing)
        return TaughtObjective(plain, outputs)

    return of_rows


@dataclass(frozen=True, eq=False)
class TaughtObjective:
    """Half the loss on the labels and half that on what the teacher says; judged by the labels alone."""

    plain: Objective
    outputs: Outputs

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        own, said = _parted(targets, self.outputs)
        distances = _DISTANCE[self.outputs.task](outputs, said.to(outputs))
        of_teacher = (distances if weights is None else distances * weights.to(outputs)).mean()
        labelled = _is_labelled(targets)
        if not labelled.any():
            return TEACHER_SHARE * of_teacher
        of_labels = self.plain.loss(outputs[labelled], own[labelled], None if weights is None else weights[labelled])
        return (1 - TEACHER_SHARE) * of_labels * labelled.float().mean() + TEACHER_SHARE * of_teacher

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.plain.validation_loss(outputs, _parted(targets, self.outputs)[0])

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        return self.plain.score(outputs, _parted(targets, self.outputs)[0])


def _parted(targets: Tensor, outputs: Outputs) -> tuple[Tensor, Tensor]:
    """The targets as the task's own objective reads them, and what the teacher says."""
    own, said = targets[:, : -outputs.width], targets[:, -outputs.width :]
    return (own[:, 0].nan_to_num().long() if outputs.task == "single_label" else own), said


def _is_labelled(targets: Tensor) -> Tensor:
    return ~targets[:, 0].isnan()


def _of_one_label(outputs: Tensor, said: Tensor) -> Tensor:
    """The divergence of the two softened answers: (rows,).

    Times T squared its gradient keeps its size at any temperature.
    """
    own, of_teacher = (nn.functional.log_softmax(each / TEMPERATURE, dim=1) for each in (outputs, said))
    divergence = nn.functional.kl_div(own, of_teacher, reduction="none", log_target=True).sum(1)
    return divergence * TEMPERATURE**2


def _of_several_labels(outputs: Tensor, said: Tensor) -> Tensor:
    softened = torch.sigmoid(said / TEMPERATURE)
    distance = nn.functional.binary_cross_entropy_with_logits(outputs / TEMPERATURE, softened, reduction="none")
    return distance * TEMPERATURE**2


def _of_a_number(outputs: Tensor, said: Tensor) -> Tensor:
    return (outputs - said).square().squeeze(1)


_DISTANCE: Mapping[Task, Callable[[Tensor, Tensor], Tensor]] = {
    "single_label": _of_one_label,
    "multi_label": _of_several_labels,
    "regression": _of_a_number,
}
