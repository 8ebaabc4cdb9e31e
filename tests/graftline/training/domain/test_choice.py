"""The way into a domain that a score without its labels chooses: what is better in truth, or plain training."""

import pytest
import torch
from torch import Tensor

from graftline.frozen.rows import FeatureRows
from graftline.training.domain.choice import Choice, Way, chosen_way, learned_from
from graftline.training.domain.self_training import Solve, probabilities_of
from graftline.training.linear_head import SolvedHead, solve_head
from graftline.training.single_label import OneLabel
from tests.graftline.training.domain.test_self_training import moons

WAYS: tuple[Way, ...] = ("none", "coral", "self_training")


def solver(held: tuple[Tensor, Tensor]) -> Solve:
    def solve(rows: FeatureRows) -> SolvedHead:
        return solve_head(rows.features, rows.targets, validation=held, outputs=2, objective=OneLabel(), penalty=1e-2)

    return solve


def choice(target: Tensor, truth: Tensor) -> tuple[Choice, dict[Way, float]]:
    """The choice, and how often the head of each way is right in truth."""
    train, held = FeatureRows(*moons(0, 1)), FeatureRows(*moons(0, 2, 200))
    rows = {"train": train, "validation": held, "target": FeatureRows(target, torch.zeros(len(target)).long())}
    solve = solver((held.features, held.targets))
    heads = {way: solve(learned_from(way, rows, solve)) for way in WAYS}
    right = {
        way: float((probabilities_of(head, target).argmax(1) == truth).double().mean()) for way, head in heads.items()
    }
    return chosen_way(rows, solve, WAYS), right


@pytest.mark.parametrize("moved", [torch.tensor([3.0, 0.0]), torch.tensor([-2.5, 1.0])], ids=str)
def test_a_domain_that_lies_elsewhere_is_met_by_coral_and_chosen_without_its_labels(moved: Tensor) -> None:
    target, truth = moons(0, 3)
    seen, right = choice(target + moved, truth)
    assert right["coral"] > right["none"] + 0.2
    assert right[seen.way] > right["none"] + 0.2
    assert seen.scores[seen.way] > seen.scores["none"]
    assert f"{seen.way} {seen.scores[seen.way]:.4f}" in seen.said


def test_where_nothing_moved_plain_training_is_kept() -> None:
    seen, _ = choice(*moons(0, 4))
    assert seen.way == "none"


def test_labels_of_other_shares_in_one_and_the_same_domain_are_what_ruins_coral() -> None:
    target, truth = moons(0, 5, 1000)
    # Nine in ten are of one label; at home as many are of either.
    some = torch.cat([torch.nonzero(truth == 1).flatten()[:450], torch.nonzero(truth == 0).flatten()[:50]])
    _, right = choice(target[some], truth[some])
    assert right["none"] > 0.95
    assert right["coral"] < right["none"] - 0.1
