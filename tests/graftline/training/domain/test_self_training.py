"""Pseudo-labels: of each class the surest rows, and a head that reads another domain better with them."""

import math

import torch
from torch import Tensor

from graftline.frozen.rows import FeatureRows
from graftline.training.domain.self_training import believed, probabilities_of, pseudo_labels, with_labelled
from graftline.training.linear_head import SolvedHead, solve_head
from graftline.training.single_label import OneLabel


def test_of_each_class_the_surest_rows_are_believed_and_no_class_crowds_out_another() -> None:
    drawn = torch.Generator().manual_seed(0)
    easy = torch.softmax(torch.randn(60, 2, generator=drawn) + torch.tensor([6.0, 0.0]), 1)
    hard = torch.softmax(0.2 * torch.randn(40, 2, generator=drawn) + torch.tensor([0.0, 0.8]), 1)
    probabilities = torch.cat([easy, hard])
    chosen, labels = believed(probabilities, 0.25)
    # By hand: the threshold of a class is the probability that a quarter of its own rows reach.
    expected = []
    thresholds = {}
    for label in (0, 1):
        own = sorted((row[label].item() for row in probabilities if row.argmax() == label), reverse=True)
        thresholds[label] = own[round(0.25 * len(own)) - 1]
    for place, row in enumerate(probabilities):
        ratios = {label: row[label].item() / thresholds[label] for label in (0, 1)}
        best = max(ratios, key=lambda label: ratios[label])
        if ratios[best] >= 1 - 1e-6:
            expected.append((place, best))
    assert list(zip(chosen.tolist(), labels.tolist(), strict=True)) == expected
    assert torch.bincount(labels).tolist() == [15, 10]


def test_a_class_that_no_row_looks_like_is_given_to_none() -> None:
    chosen, labels = believed(torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.9, 0.05, 0.05]]), 0.5)
    assert set(labels.tolist()) <= {0, 1}
    assert chosen.tolist() == [1, 2]


def moons(turned: float, seed: int, rows: int = 400) -> tuple[Tensor, Tensor]:
    """Two clouds, turned about the origin, and their labels."""
    drawn = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 2
    plain = 0.45 * torch.randn(rows, 2, generator=drawn) + torch.stack([2.0 * labels - 1, torch.zeros(rows)], 1)
    cos, sin = math.cos(turned), math.sin(turned)
    return plain @ torch.tensor([[cos, sin], [-sin, cos]]), labels


def test_a_head_that_teaches_itself_reads_turned_clouds_better_than_one_that_saw_the_others_alone() -> None:
    (source, labels), (held, held_labels), (target, truth) = moons(0, 1), moons(0, 2, 100), moons(1.1, 3)

    def solve(rows: FeatureRows) -> SolvedHead:
        return solve_head(
            rows.features, rows.targets, validation=(held, held_labels), outputs=2, objective=OneLabel(), penalty=1e-2
        )

    rows = {"train": FeatureRows(source, labels), "target": FeatureRows(target, torch.zeros(len(target)).long())}
    chosen, given = pseudo_labels(rows, solve)
    assert (given == truth[chosen]).float().mean() > 0.95
    before, after = (
        (probabilities_of(solve(train), target).argmax(1) == truth).float().mean()
        for train in (rows["train"], with_labelled(rows["train"], target[chosen], given))
    )
    assert after > before + 0.02


def test_rows_in_several_views_stay_view_by_view() -> None:
    seen = FeatureRows(torch.arange(6.0)[:, None], torch.tensor([0, 1, 0, 0, 1, 0]), views=2)
    joined = with_labelled(seen, torch.tensor([[9.0]]), torch.tensor([1]))
    assert joined.in_epoch(0).features.flatten().tolist() == [0, 1, 2, 9]
    assert joined.in_epoch(1).features.flatten().tolist() == [3, 4, 5, 9]
    assert joined.targets.tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
