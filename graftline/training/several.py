"""The objective of several targets at once: their losses balanced, each over the rows that have the target."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graftline.models.classifier import Classifier
from graftline.models.outputs import Outputs, parts_of
from graftline.models.several import learned_of
from graftline.settings import Task
from graftline.training.objective import Objective, ObjectiveFor

# The name of the learned variances among the head's parameters.
LOG_VARIANCES = "log_variances"


@dataclass(frozen=True, eq=False)
class SeveralTargets:
    """Losses and scores of targets as `beside_one_another` gives them, for outputs that stand in the same order."""

    outputs: Outputs
    objectives: Sequence[Objective]
    shares: Sequence[float]
    """Which share of the training rows has each target."""
    log_variances: Tensor | None = None
    """How unsure the model is of each target, learned along; None: each target counts the same."""

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean over the targets of each one's mean loss over the rows that have it, or balanced by uncertainty.

        So that a batch in which a target is rare does not count for more, it counts by its rows in the batch as a share
        of those that are usual: over an epoch each target's loss is its mean over all of its rows. With variances the
        likelihood of Kendall et al. (arXiv 1705.07115, equations 7 and 10), whose logarithms are learned.
        """
        losses = []
        for place, (own, objective) in enumerate(zip(learned_of(self.outputs, targets), self.objectives, strict=True)):
            usual = len(targets) * self.shares[place]
            loss = outputs.new_zeros(())
            if len(own.targets):
                of_rows = None if weights is None else own.of(weights)
                loss = objective.loss(own.of(outputs)[:, own.part.columns], own.targets, of_rows)
                loss = loss * (len(own.targets) / usual)
            losses.append(loss if self.log_variances is None else self._weighed(loss, place, own.part.outputs.task))
        return torch.stack(losses).mean()

    def _weighed(self, loss: Tensor, place: int, task: Task) -> Tensor:
        assert self.log_variances is not None
        log_variance = self.log_variances[place]
        return torch.exp(-log_variance) * loss * (0.5 if task == "regression" else 1.0) + log_variance / 2

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        found = [
            objective.validation_loss(own.of(outputs)[:, own.part.columns], own.targets)
            for own, objective in zip(learned_of(self.outputs, targets), self.objectives, strict=True)
        ]
        return torch.stack([loss.to(outputs) for loss in found]).mean()

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """The mean of the targets' primary scores."""
        found = [
            objective.score(own.of(outputs)[:, own.part.columns], own.targets)
            for own, objective in zip(learned_of(self.outputs, targets), self.objectives, strict=True)
        ]
        return sum(found) / len(found)


@dataclass(frozen=True)
class ObjectiveOfTargets:
    """Makes the objective of outputs of one target, or of several."""

    of_task: Mapping[Task, ObjectiveFor]

    def __call__(
        self,
        outputs: Outputs,
        targets: Tensor,
        *,
        balanced: bool = False,
        adjusted: bool = False,
        label_smoothing: float = 0.0,
    ) -> Objective:
        """For a model with these outputs and the targets of its training rows."""
        learned = learned_of(outputs, targets)
        each = [
            self.of_task[own.part.outputs.task](
                own.part.outputs,
                own.targets,
                balanced=balanced,
                adjusted=adjusted,
                label_smoothing=label_smoothing,
            )
            for own in learned
        ]
        if not outputs.further:
            return each[0]
        shares = [len(own.targets) / len(targets) for own in learned]
        return SeveralTargets(outputs, each, shares)


def each_of(objective: Objective) -> Sequence[Objective]:
    """The objective of each target, in their order."""
    return objective.objectives if isinstance(objective, SeveralTargets) else [objective]


@contextmanager
def learning_variances(model: Classifier, say: Callable[[str], None]) -> Iterator[None]:
    """The model with a variance for each target beside its heads, at first 1, that learns as they do."""
    parts = parts_of(model.outputs)
    model.head.register_parameter(LOG_VARIANCES, nn.Parameter(torch.zeros(len(parts), device=model.device)))
    yield
    weights = ", ".join(f"{weight:.2f}" for weight in torch.exp(-log_variances_of(model)).tolist())
    say(f"targets: weighed by uncertainty with {weights}")
    del model.head._parameters[LOG_VARIANCES]


def log_variances_of(model: Classifier) -> Tensor:
    """The logarithms of these variances: (targets,)."""
    return model.head.get_parameter(LOG_VARIANCES)
