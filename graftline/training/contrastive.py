"""Contrastive training: rows that share a label are drawn together in front of the head, others are driven apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from graftline.models.classifier import Classifier
from graftline.training.plan import Rows

# The value that supervised contrastive learning was published with (Khosla et al. 2020, arXiv 2004.11362, section 4).
TEMPERATURE = 0.1
# Of validation rows so many pairs are contrasted at once: all with all would need memory for the square of them.
PAIRS_AT_ONCE = 128
# In the place of a label for rows of several labels that have none.
NO_LABEL = -1


@dataclass(frozen=True)
class PairedRows:
    """Rows in pairs that share a label: each row is the first of one, its partner is drawn anew for each epoch."""

    rows: Rows
    seed: int
    partners: Sequence[int]
    """Of each row the number of another; its own if no other row has a label of it."""

    @property
    def lengths(self) -> Sequence[int]:
        of_rows = self.rows.lengths
        return [max(of_rows[row], of_rows[partner]) for row, partner in enumerate(self.partners)]

    @property
    def targets(self) -> Tensor:
        """(pairs, 2), or (pairs, 2, labels) where rows may have several."""
        return torch.stack([self.rows.targets, self.rows.targets[list(self.partners)]], 1)

    @property
    def weights(self) -> Tensor | None:
        """(pairs, 2), or (pairs, 2, labels)."""
        of_rows = self.rows.weights
        return None if of_rows is None else torch.stack([of_rows, of_rows[list(self.partners)]], 1)

    def in_epoch(self, epoch: int) -> "PairedRows":
        partners = drawn_partners(self.rows.targets, seed=self.seed, epoch=epoch)
        return PairedRows(self.rows.in_epoch(epoch), self.seed, partners)

    def logits(self, model: nn.Module, rows: Sequence[int]) -> Tensor:
        """What the head would read of both rows of each pair, one behind the other: (pairs, 2 * width)."""
        assert isinstance(model, Classifier)
        vectors = self.rows.logits(_InFrontOfHead(model), [*rows, *(self.partners[row] for row in rows)])
        return torch.cat(vectors.chunk(2), 1)


class _InFrontOfHead(nn.Module):
    """A model that answers with what its head reads."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, **batch: Tensor) -> Tensor:
        return self.model.features(**batch)


def paired(rows: Rows, *, seed: int) -> PairedRows:
    """The rows in pairs, as the first epoch has them. As many pairs as rows, so memory grows with the rows alone."""
    return PairedRows(rows, seed, drawn_partners(rows.targets, seed=seed, epoch=0))


def drawn_partners(targets: Tensor, *, seed: int, epoch: int) -> list[int]:
    """For each row another one that shares a label: first a label of the row is drawn, then a row that has it.

    `targets` are places of labels (rows,), or 1 where a row has the label (rows, labels).
    """
    random = np.random.default_rng([seed, epoch])
    labels_of = _labels_of(targets)
    members: dict[int, list[int]] = {}
    for row, labels in enumerate(labels_of):
        for label in labels:
            members.setdefault(label, []).append(row)
    partners = []
    for row, labels in enumerate(labels_of):
        sharing = members[labels[int(random.integers(len(labels)))]]
        drawn = int(random.integers(max(1, len(sharing) - 1)))
        # Of the others: the last one stands in where the row itself was drawn.
        partners.append(sharing[-1] if sharing[drawn] == row else sharing[drawn])
    return partners


def _labels_of(targets: Tensor) -> list[list[int]]:
    if targets.ndim == 1:
        return [[label] for label in targets.tolist()]
    return [row.nonzero()[:, 0].tolist() or [NO_LABEL] for row in targets]


@dataclass(frozen=True, eq=False)
class Contrast:
    """The supervised contrastive loss of pairs (arXiv 2004.11362, equation 2): of every two rows in a batch.

    Where rows have several labels, two of them are alike by the share of their labels that they have in common.
    """

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """For vectors (pairs, 2 * width), and targets and weights of `PairedRows`; weights of labels are averaged."""
        vectors = nn.functional.normalize(torch.cat(outputs.chunk(2, 1)), dim=1)
        of_vectors = torch.cat([targets[:, 0], targets[:, 1]])
        itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
        likeness = shared_labels(of_vectors).masked_fill(itself, 0)
        closeness = (vectors @ vectors.T / TEMPERATURE).masked_fill(itself, -torch.inf)
        chances = (closeness - closeness.logsumexp(1, keepdim=True)).masked_fill(itself, 0)
        losses = -(likeness * chances).sum(1) / likeness.sum(1)
        if weights is None:
            return losses.mean()
        of_rows = torch.cat([weights[:, 0], weights[:, 1]]).to(losses)
        return (losses * (of_rows.mean(1) if of_rows.ndim > 1 else of_rows)).mean()

    def validation_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        parts = [slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(outputs), PAIRS_AT_ONCE)]
        losses = [self.loss(outputs[part], targets[part]) * len(outputs[part]) for part in parts]
        return torch.stack(losses).sum() / len(outputs)

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Higher is better: the loss alone decides between epochs."""
        return -float(self.validation_loss(outputs, targets))


def shared_labels(targets: Tensor) -> Tensor:
    """By how much every two rows share their labels, 0 to 1: (rows, rows), the Jaccard index of several labels.

    Two rows without labels are alike.
    """
    if targets.ndim == 1:
        return (targets[:, None] == targets).float()
    both, counts = targets @ targets.T, targets.sum(1)
    either = counts[:, None] + counts - both
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)
