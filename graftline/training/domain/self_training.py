"""Self-training: rows of the target domain learn their own labels, those first that a head is surest of."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from graftline.frozen.rows import FeatureRows
from graftline.training.linear_head import SolvedHead

# The shares of the rows of each class that are believed, round by round: from 20 % to 50 % as in arXiv 1810.07911.
SHARES = (0.2, 0.3, 0.4, 0.5)

Solve = Callable[[FeatureRows], SolvedHead]


def pseudo_labels(rows: Mapping[str, FeatureRows], solve: Solve) -> tuple[Tensor, Tensor]:
    """Which rows of `target` get a label, and which: (chosen,) each, after some rounds of solving a head with them.

    `rows` by split, of which `train` and `target` are used; `solve` gives the best head for labelled rows.
    """
    source, target = rows["train"], rows["target"].features
    head, chosen, labels = solve(source), torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long)
    for share in SHARES:
        chosen, labels = believed(probabilities_of(head, target), share)
        if share != SHARES[-1]:
            head = solve(with_labelled(source, target[chosen], labels))
    return chosen, labels


def believed(probabilities: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The rows whose label is believed, and these labels, for (rows, classes): of each class about that share.

    Class-balanced self-training (arXiv 1810.07911, eq. 7 and algorithm 2): each class has the threshold that so large a
    share of the rows that most look like it reach, and the label is the class whose threshold is exceeded most. By one
    threshold for all, easy classes would crowd out the others.
    """
    surest, likeliest = probabilities.max(1)
    thresholds = torch.ones(probabilities.shape[1], dtype=probabilities.dtype)
    for label in range(probabilities.shape[1]):
        of_class = surest[likeliest == label].sort(descending=True).values
        if len(of_class):
            thresholds[label] = of_class[max(0, round(share * len(of_class)) - 1)]
    exceeded, labels = (probabilities / thresholds).max(1)
    chosen = torch.nonzero(exceeded >= 1).flatten()
    return chosen, labels[chosen]


def probabilities_of(head: SolvedHead, features: Tensor) -> Tensor:
    """(rows, classes)"""
    return torch.softmax(features.double() @ head.weight.double().T + head.bias.double(), dim=1)


def with_labelled(rows: FeatureRows, features: Tensor, labels: Tensor) -> FeatureRows:
    """The rows and others that have only one view, which stands in for each."""
    views = zip(rows.features.chunk(rows.views), rows.targets.chunk(rows.views), strict=True)
    parts = [(torch.cat([seen, features]), torch.cat([targets, labels])) for seen, targets in views]
    return FeatureRows(torch.cat([seen for seen, _ in parts]), torch.cat([targets for _, targets in parts]), rows.views)
