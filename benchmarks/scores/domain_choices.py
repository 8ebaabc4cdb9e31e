"""What is compared with the ways into a target domain: their parts, and scores that need none of its labels."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from graftline.frozen.rows import FeatureRows
from graftline.training.domain.coral import alignment

# Of soft neighbourhood density, as in its paper.
TEMPERATURE = 0.05
SMALLEST = 1e-12

Rows = Mapping[str, FeatureRows]


def means_alone(rows: Rows) -> FeatureRows:
    """The rows to learn from, moved to where the target's are on average."""
    train = rows["train"]
    return replace(train, vectors=train.features - train.features.mean(0) + rows["target"].features.mean(0))


def covariances_alone(rows: Rows) -> FeatureRows:
    """The rows to learn from, with the target's covariances about their own mean."""
    train = rows["train"]
    onto = alignment(train.features, rows["target"].features)
    return replace(train, vectors=replace(onto, onto=onto.mean).of(train.features))


def at_equal_shares(rows: Rows) -> FeatureRows:
    """CORAL by means and covariances of rows drawn again, so that labels have the shares of the target's in truth.

    Nobody would know these shares: it tells what of CORAL's loss is theirs.
    """
    train, target = rows["train"], rows["target"]
    ours, theirs = (torch.bincount(side.targets, minlength=int(train.targets.max()) + 1) for side in (train, target))
    likely = (theirs / ours.clamp(min=1))[train.targets]
    drawn = torch.multinomial(
        likely.double(), len(likely), replacement=True, generator=torch.Generator().manual_seed(0)
    )
    return replace(train, vectors=alignment(train.features[drawn], target.features).of(train.features))


PARTS: Mapping[str, Callable[[Rows], FeatureRows]] = {
    "means alone": means_alone,
    "covariances alone": covariances_alone,
    "coral at equal shares": at_equal_shares,
}


def information(answers: Tensor) -> float:
    """Mutual information of rows and answers: (rows, classes) probabilities, sure for each, balanced for all."""
    return float(_entropies(answers.mean(0, keepdim=True)) - _entropies(answers).mean())


def nuclear_norm(answers: Tensor) -> float:
    """Batch nuclear norm (arXiv 2003.12237), as a share of the largest it could be."""
    rows, classes = answers.shape
    return float(torch.linalg.svdvals(answers).sum() / (rows * classes) ** 0.5)


def neighbourhood_density(answers: Tensor) -> float:
    """Soft neighbourhood density (arXiv 2108.10860): how evenly each row's likeness is spread over its like."""
    unit = torch.nn.functional.normalize(answers, dim=1)
    likeness = unit @ unit.T / TEMPERATURE
    likeness.fill_diagonal_(-torch.inf)
    return float(_entropies(likeness.softmax(1)).mean())


VALIDATORS: Mapping[str, Callable[[Tensor], float]] = {
    "InfoMax": information,
    "BNM": nuclear_norm,
    "SND": neighbourhood_density,
}


def _entropies(shares: Tensor) -> Tensor:
    return -(shares * (shares + SMALLEST).log()).sum(1)
